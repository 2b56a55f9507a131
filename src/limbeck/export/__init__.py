"""Export: a student of a run made into bundles, each held to the student before it is delivered."""
