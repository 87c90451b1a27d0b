import json
import logging
import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.balanced_subset import BalancedSubset, SubsetManifest
from orapo.errors import DataError, SettingError
from orapo.records import Split, Study

PREVALENCE = dict(
    zip(OBSERVATIONS, (0.0, 0.05, 0.3, 0.04, 0.35, 0.18, 0.07, 0.11, 0.3, 0.07, 0.36, 0.013, 0.03, 0.4), strict=True)
)
NO_FINDING, EDEMA, FRACTURE = Observation.NO_FINDING, Observation.EDEMA, Observation.FRACTURE


def study(study_id, *present, state=LabelState.POSITIVE):
    labels = {o: state if o in present else LabelState.UNMENTIONED for o in OBSERVATIONS}
    return Study(study_id, f"p-{study_id}", Split.TRAIN, ("a.png",), ("PA",), "A report.", labels)


def long_tailed(num_studies, seed):
    draw = random.Random(seed)
    studies = []
    for index in range(num_studies):
        present = {o for o, chance in PREVALENCE.items() if draw.random() < chance}
        studies.append(study(f"s{index}", *({NO_FINDING} if draw.random() < 0.33 else present)))
    return studies


def counts_of(studies):
    return {o: sum(study.labels[o] is LabelState.POSITIVE for study in studies) for o in OBSERVATIONS}


def entropy(counts):
    total = sum(counts.values())
    return -sum(n / total * math.log(n / total) for n in counts.values() if n)


POOLS = st.lists(st.frozensets(st.sampled_from(OBSERVATIONS), max_size=5), min_size=1, max_size=60).map(
    lambda sets: [study(f"s{index}", *present) for index, present in enumerate(sets)]
)


@given(POOLS, st.integers(1, 80), st.integers(0, 99), st.randoms(use_true_random=False))
def test_size_uniqueness_counts_and_independence_of_order(pool, num_studies, seed, shuffler):
    subset = BalancedSubset(num_studies=num_studies, seed=seed)
    manifest = subset.choose(pool)
    assert len(manifest.study_ids) == len(set(manifest.study_ids)) == min(num_studies, len(pool))
    chosen = [next(study for study in pool if study.study_id == study_id) for study_id in manifest.study_ids]
    assert manifest.positives_after == counts_of(chosen)
    assert manifest.positives_before == counts_of(pool)
    shuffled = list(pool)
    shuffler.shuffle(shuffled)
    assert subset.choose(shuffled) == manifest


@given(POOLS, st.integers(1, 59), st.integers(0, 9))
def test_studies_without_a_positive_label_come_last(pool, num_studies, seed):
    if num_studies >= len(pool):
        return
    chosen = BalancedSubset(num_studies=num_studies, seed=seed).choose(pool).study_ids
    by_id = {study.study_id: study for study in pool}
    chosen = [by_id[study_id] for study_id in chosen]
    unlabelled = [not any(state is LabelState.POSITIVE for state in study.labels.values()) for study in chosen]
    assert unlabelled == sorted(unlabelled)
    num_labelled = sum(any(s is LabelState.POSITIVE for s in study.labels.values()) for study in pool)
    assert sum(unlabelled) == max(0, num_studies - num_labelled)


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_long_tailed_labels_end_up_far_better_balanced_than_by_chance(seed):
    pool = long_tailed(3_000, seed)
    manifest = BalancedSubset(num_studies=150, seed=seed).choose(pool)
    before, after = manifest.positives_before, manifest.positives_after
    by_chance = counts_of(random.Random(seed).sample(pool, 150))
    assert min(after.values()) > min(by_chance.values())
    assert entropy(after) > entropy(by_chance) + 0.1
    not_exhausted = [after[o] for o in OBSERVATIONS if after[o] < before[o]]
    assert max(after.values()) <= 1.5 * min(not_exhausted)
    assert after[NO_FINDING] <= min(not_exhausted) + 1


@given(POOLS, st.integers(1, 30), st.integers(0, 9))
def test_a_smaller_subset_is_the_beginning_of_a_larger_one(pool, num_studies, seed):
    larger = BalancedSubset(num_studies=len(pool), seed=seed).choose(pool).study_ids
    smaller = BalancedSubset(num_studies=min(num_studies, len(pool)), seed=seed).choose(pool).study_ids
    assert larger[: len(smaller)] == smaller


def test_rare_observations_are_taken_whole_and_no_finding_does_not_fill_up():
    pool = [study(f"n{i}", NO_FINDING) for i in range(100)]
    pool += [study(f"e{i}", EDEMA) for i in range(50)] + [study(f"f{i}", FRACTURE) for i in range(4)]
    counts = BalancedSubset(num_studies=24, seed=3).choose(pool).positives_after
    assert (counts[FRACTURE], counts[EDEMA], counts[NO_FINDING]) == (4, 10, 10)


def test_no_finding_goes_beyond_its_share_only_when_nothing_else_is_left():
    pool = [study(f"n{i}", NO_FINDING) for i in range(20)] + [study(f"e{i}", EDEMA) for i in range(3)] + [study("x")]
    manifest = BalancedSubset(num_studies=10, seed=0).choose(pool)
    assert manifest.positives_after[EDEMA] == 3
    assert manifest.positives_after[NO_FINDING] == 7
    assert "x" not in manifest.study_ids


def test_uncertain_labels_count_only_when_told():
    pool = [study(f"u{i}", FRACTURE, state=LabelState.UNCERTAIN) for i in range(5)]
    pool += [study(f"e{i}", EDEMA) for i in range(5)]
    without = BalancedSubset(num_studies=5, seed=0).choose(pool)
    assert without.positives_after[EDEMA] == 5
    assert without.positives_before[FRACTURE] == 0
    counted = BalancedSubset(num_studies=5, seed=0, uncertain_is_positive=True).choose(pool)
    assert sorted((counted.positives_after[EDEMA], counted.positives_after[FRACTURE])) == [2, 3]


def test_another_seed_gives_another_subset():
    pool = long_tailed(500, 0)
    assert BalancedSubset(50, seed=0).choose(pool).study_ids != BalancedSubset(50, seed=1).choose(pool).study_ids


def test_a_small_pool_is_used_whole_with_a_note_or_refused(caplog):
    pool = [study(f"e{i}", EDEMA) for i in range(19)]
    with caplog.at_level(logging.WARNING):
        manifest = BalancedSubset(num_studies=1000, seed=0).choose(pool)
    assert sorted(manifest.study_ids) == sorted(study.study_id for study in pool)
    assert manifest.note.startswith("19 studies to choose from, fewer than the 1000 asked for: all are used")
    assert manifest.note in caplog.text
    with pytest.raises(DataError, match=r"there are 19 studies to choose from, fewer than the 1000 .* at most 19"):
        BalancedSubset(num_studies=1000, seed=0, allow_fewer=False).choose(pool)


def test_bad_pools_and_settings_are_refused():
    with pytest.raises(DataError, match="there is no study to choose a subset from"):
        BalancedSubset(num_studies=5, seed=0).choose([])
    with pytest.raises(DataError, match="study a is twice among the studies to choose from"):
        BalancedSubset(num_studies=1, seed=0).choose([study("a"), study("b"), study("a")])
    with pytest.raises(SettingError, match=r"^num_studies is 0; it must be a whole number, at least 1"):
        BalancedSubset(num_studies=0, seed=0)
    with pytest.raises(SettingError, match=r"^seed is 1.5"):
        BalancedSubset(num_studies=1, seed=1.5)
    with pytest.raises(SettingError, match=r"^uncertain_is_positive is 'yes'"):
        BalancedSubset(num_studies=1, seed=0, uncertain_is_positive="yes")


def test_the_digest_follows_ids_and_labels():
    def digest(pool):
        return BalancedSubset(num_studies=1, seed=0).choose(pool).source_digest

    pool = [study("a", EDEMA), study("b", FRACTURE)]
    assert digest(pool) == digest(pool[::-1])
    assert digest(pool) != digest([study("a", EDEMA), study("b", EDEMA)])
    assert BalancedSubset(num_studies=1, seed=0).choose(pool, source_digest="abc").source_digest == "abc"


def test_twenty_thousand_studies_take_no_time():
    pool = long_tailed(20_000, 0)
    start = time.perf_counter()
    BalancedSubset(num_studies=1_000, seed=0).choose(pool)
    # 0.9 s where 230,000 take 2.4 s; a quadratic step would take minutes.
    assert time.perf_counter() - start < 10


def test_studies_that_prove_unusable_are_replaced():
    pool = long_tailed(400, 2)
    unusable = {study.study_id for index, study in enumerate(pool) if index % 3 == 0}
    asked = []

    def is_usable(study_id):
        asked.append(study_id)
        return study_id not in unusable

    manifest = BalancedSubset(num_studies=60, seed=1).choose(pool, is_usable=is_usable)
    assert len(manifest.study_ids) == 60
    assert not unusable & set(manifest.study_ids)
    assert len(asked) == len(set(asked)) == 60 + manifest.num_unusable
    assert manifest.num_unusable == len(unusable & set(asked)) > 0
    assert manifest.num_pool == 400
    usable = [study for study in pool if study.study_id not in unusable]
    spread = manifest.positives_after.values()
    without = BalancedSubset(num_studies=60, seed=1).choose(usable).positives_after.values()
    assert max(spread) - min(spread) <= 1.5 * (max(without) - min(without))


def test_too_few_usable_studies_are_noted_or_refused():
    pool = long_tailed(40, 2)
    kept = {study.study_id for study in pool[:10]}
    manifest = BalancedSubset(num_studies=30, seed=1).choose(pool, is_usable=kept.__contains__)
    assert set(manifest.study_ids) == kept
    assert manifest.note.startswith("10 studies to choose from (of 40, 30 can't be used), fewer than the 30 asked for")
    with pytest.raises(DataError, match=r"there are 10 studies to choose from \(of 40, 30 can't be used\)"):
        BalancedSubset(num_studies=30, seed=1, allow_fewer=False).choose(pool, is_usable=kept.__contains__)
    with pytest.raises(DataError, match="none of the 40 studies to choose from can be used"):
        BalancedSubset(num_studies=30, seed=1).choose(pool, is_usable=lambda study_id: False)


@pytest.fixture
def manifest():
    return BalancedSubset(num_studies=30, seed=7).choose(long_tailed(100, 1), source_digest="0123456789abcdef")


def test_the_manifest_survives_writing_and_reading(tmp_path, manifest):
    manifest.write(tmp_path / "subset.json")
    assert SubsetManifest.read(tmp_path / "subset.json") == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["subset.json"]
    content = json.loads((tmp_path / "subset.json").read_text())
    assert content["num_studies"] == 30
    assert content["positives_before"]["Pleural Effusion"] == manifest.positives_before[Observation.PLEURAL_EFFUSION]
    assert "fewest positives" in content["rule"]


def test_a_manifest_warns_of_a_changed_source(caplog, manifest):
    listed = {study.study_id for study in long_tailed(100, 1)}
    with caplog.at_level(logging.WARNING):
        manifest.check_source(listed, manifest.source_digest)
        assert not caplog.records
        manifest.check_source(listed, "fedcba9876543210")
    assert "digest 0123456789ab, this one has fedcba987654" in caplog.text


def test_a_manifest_of_an_older_version_is_not_said_to_be_of_changed_data(caplog, manifest):
    listed = {study.study_id for study in long_tailed(100, 1)}
    with caplog.at_level(logging.INFO):
        manifest.check_source(listed, f"2:{manifest.source_digest}")
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "can't be compared with today's" in caplog.text


def test_a_manifest_of_other_data_is_refused(manifest):
    listed = {study.study_id for study in long_tailed(100, 1)} - {manifest.study_ids[4]}
    with pytest.raises(
        DataError, match=f"1 of the 30 studies of the subset are not in the source: {manifest.study_ids[4]};"
    ):
        manifest.check_source(listed, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("seed"), "seed is None; it must be a int"),
        (lambda content: content.update(num_pool="many"), "num_pool is 'many'; it must be a int"),
        (lambda content: content.update(study_ids="s1"), "study_ids is 's1'; it must be a list"),
        (lambda content: content.update(seed="No effusion is seen."), r"seed is \(22 characters of text\); it must"),
        (lambda content: content.update(study_ids=2 * ["No effusion seen"]), r"study \(16 characters of text\) is"),
        (lambda content: content.update(study_ids=["s1", 2]), "every one of study_ids must be a string"),
        (lambda content: content.update(study_ids=["s1", "s2", "s1"]), "study s1 is listed twice"),
        (
            lambda content: content["positives_after"].pop("Edema"),
            "positives_after must have a count for each of the 14",
        ),
    ],
)
def test_broken_manifests_are_refused(tmp_path, manifest, change, message):
    path = tmp_path / "subset.json"
    manifest.write(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"subset manifest .*subset\.json: {message}"):
        SubsetManifest.read(path)


def test_files_that_hold_no_manifest_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none\.json"):
        SubsetManifest.read(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json: not JSON"):
        SubsetManifest.read(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(DataError, match=r"holds a list; it must be a JSON object"):
        SubsetManifest.read(tmp_path / "b.json")


def ranking(path, rates):
    lines = ["study_id,zero_reward_rate,mean_reward,num_reports,model,seed"]
    path.write_text("\n".join([*lines, *(f"{name},{rate},0.1,4,tiny,0" for name, rate in rates.items())]) + "\n")
    return str(path)


def test_random_takes_the_first_of_a_seeded_order():
    pool = long_tailed(200, 0)
    chosen = BalancedSubset(num_studies=50, seed=0, rule="random").choose(pool)
    assert BalancedSubset(num_studies=20, seed=0, rule="random").choose(pool[::-1]).study_ids == chosen.study_ids[:20]
    assert set(chosen.study_ids) != set(BalancedSubset(num_studies=50, seed=1, rule="random").choose(pool).study_ids)
    assert set(chosen.reasons.values()) == {"random order"}
    usable = BalancedSubset(num_studies=50, seed=0, rule="random").choose(
        pool, is_usable=lambda study_id: study_id != chosen.study_ids[3]
    )
    assert usable.study_ids[:-1] == tuple(study_id for study_id in chosen.study_ids if study_id != chosen.study_ids[3])


def test_hard_takes_the_highest_rates_and_is_balanced_within_one(tmp_path):
    pool = long_tailed(300, 0)
    rates = {study.study_id: (1.0, 0.75, 0.5)[index % 3] for index, study in enumerate(pool[:270])}
    table = ranking(tmp_path / "rank.csv", rates)
    manifest = BalancedSubset(num_studies=120, seed=0, rule="hard", ranking=table).choose(pool)
    assert [rates[study_id] for study_id in manifest.study_ids] == [1.0] * 90 + [0.75] * 30
    assert manifest.positives_after[FRACTURE] >= 4, "a rare one is looked for among the last"
    assert manifest.reasons[manifest.study_ids[0]] == "zero-reward rate 1; all studies of this rate are taken"
    assert manifest.reasons[manifest.study_ids[-1]].startswith("zero-reward rate 0.75; ")
    band = {"rule": "hard", "ranking": table, "least_zero_rate": 0.6, "most_zero_rate": 0.9}
    assert {rates[i] for i in BalancedSubset(num_studies=90, seed=0, **band).choose(pool).study_ids} == {0.75}
    few = BalancedSubset(num_studies=91, seed=0, **band).choose(pool)
    assert len(few.study_ids) == 90
    assert few.note.startswith("90 studies to choose from, fewer than the 91 asked for")
    with pytest.raises(
        DataError, match=r"rank\.csv has no study of this source with a zero-reward rate in \[0\.8, 0\.9]"
    ):
        BalancedSubset(num_studies=9, seed=0, **(band | {"least_zero_rate": 0.8})).choose(pool)
    manifest.write(tmp_path / "subset.json")
    assert SubsetManifest.read(tmp_path / "subset.json") == manifest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "hard"}, "ranking is None; rule=hard needs the table that `orapo data rank` writes"),
        ({"ranking": "a.csv"}, "ranking is 'a.csv', and rule is 'balanced'; only rule=hard reads it"),
        ({"rule": "easy"}, "rule is 'easy'; it must be one of balanced, random, hard"),
        (
            {"least_zero_rate": 0.6, "most_zero_rate": 0.5},
            "least_zero_rate is 0.6; it must be at most most_zero_rate, 0.5",
        ),
        ({"most_zero_rate": 1.5}, "most_zero_rate is 1.5"),
    ],
)
def test_rules_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(SettingError) as caught:
        BalancedSubset(num_studies=1, seed=0, **changes)
    assert str(caught.value).startswith(message)


def test_a_ranking_of_another_source_is_warned_of(tmp_path, caplog):
    table = ranking(tmp_path / "rank.csv", {"s1": 0.5})
    subset = BalancedSubset(num_studies=1, seed=0, rule="hard", ranking=table)
    subset.choose([study("s1")], source_digest="a" * 64)  # a table of one's own
    (tmp_path / "rank.csv.json").write_text(json.dumps({"source_digest": "a" * 64}))
    subset.choose([study("s1")], source_digest="a" * 64)
    assert not caplog.messages
    subset.choose([study("s1")], source_digest="b" * 64)
    (message,) = caplog.messages
    assert "ranks a source with digest aaaaaaaaaaaa, this one has bbbbbbbbbbbb" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("study_id\ns1\n", "has no column 'zero_reward_rate'"),
        ("study_id,zero_reward_rate\ns1,0.5\ns1,0.5\n", "line 3: study s1 stands twice"),
        ("study_id,zero_reward_rate\ns1,often\n", "zero_reward_rate is 'often'; it must be a number in [0, 1]"),
        ("study_id,zero_reward_rate\ns1,nan\n", "zero_reward_rate is 'nan'"),
        ("study_id,zero_reward_rate\ns1,1.5\n", "zero_reward_rate is '1.5'"),
        ("study_id,zero_reward_rate\ns1,No effusion is seen\n", "zero_reward_rate is 19 characters of text;"),
        ("study_id,zero_reward_rate\nLungs are clear,\n", "study (15 characters of text): zero_reward_rate is ''"),
    ],
)
def test_a_ranking_that_cannot_be_meant_is_refused(tmp_path, content, message):
    (tmp_path / "rank.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        BalancedSubset(num_studies=1, seed=0, rule="hard", ranking=str(tmp_path / "rank.csv")).choose([study("s1")])
    assert message in str(caught.value)
