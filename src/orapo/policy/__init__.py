"""The vision-language policy: loading, sampling, scoring."""
