"""A language model as the judge of the FactS reward: prompts, answers, cache, limits, and the calls themselves."""
