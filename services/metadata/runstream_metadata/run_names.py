"""Names for runs that were not given one: ``adjective-animal-NNN``, as MLflow's clients are used to."""

from __future__ import annotations

import random

ADJECTIVES = (
    "able", "agile", "amber", "ample", "apt", "avid", "balmy", "bold", "brave", "breezy", "bright", "brisk",
    "calm", "candid", "casual", "clean", "clever", "coral", "cosmic", "crisp", "curious", "dapper", "daring",
    "deft", "eager", "earnest", "easy", "elated", "fair", "famous", "fast", "fleet", "fond", "frank", "fresh",
    "gentle", "glad", "golden", "grand", "handy", "happy", "hardy", "honest", "humble", "jolly", "jovial",
    "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mighty", "modest", "neat", "nimble",
    "noble", "novel", "patient", "placid", "plucky", "polite", "prime", "proud", "quick", "quiet", "rapid",
    "rare", "ready", "robust", "rosy", "rustic", "serene", "sharp", "shiny", "silent", "silver", "smart",
    "smooth", "snappy", "solid", "spry", "stately", "steady", "stoic", "sturdy", "sunny", "swift", "tidy",
    "tranquil", "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty", "zesty",
)  # fmt: skip

ANIMALS = (
    "albatross", "alpaca", "antelope", "auk", "badger", "bat", "bear", "beaver", "bee", "bison", "boar", "bream",
    "carp", "cat", "cod", "colt", "condor", "conch", "crab", "crane", "cricket", "crow", "cub", "deer", "dolphin",
    "dove", "duck", "eagle", "elk", "ermine", "ewe", "falcon", "fawn", "finch", "flamingo", "fox", "frog", "gnu",
    "goat", "goose", "grouse", "gull", "hare", "hawk", "hen", "heron", "hippo", "horse", "ibis", "jackal", "jay",
    "kite", "koala", "koi", "lamb", "lark", "lemur", "llama", "loon", "lynx", "mare", "marten", "mink", "mole",
    "moose", "moth", "mouse", "mule", "newt", "ostrich", "otter", "owl", "ox", "panda", "penguin", "perch", "pig",
    "pony", "quail", "rabbit", "ram", "raven", "robin", "rook", "seal", "shad", "shark", "sheep", "shrew", "shrike",
    "skunk", "sloth", "snail", "snipe", "sparrow", "squid", "stag", "starling", "stork", "swan", "tern", "thrush",
    "toad", "trout", "turtle", "vole", "wasp", "whale", "wolf", "wren", "yak", "zebra",
)  # fmt: skip


def random_run_name() -> str:
    """A name such as ``swift-otter-417``; not unique, it only has to be told apart by people."""
    # Not a secret: the id is what identifies a run.
    pick = random.choice
    return f"{pick(ADJECTIVES)}-{pick(ANIMALS)}-{random.randrange(1000)}"  # noqa: S311
