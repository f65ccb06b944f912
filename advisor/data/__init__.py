"""Training data: reading pairs and traces, counting tokens, writing the files of a mixture.

Importing this needs the standard library only.
"""

from ._lengths import TraceLengths, measure_lengths
from ._lines import BrokenLine, ObjectLine, describe_lines, read_objects
from ._mixture import Mixture, MixtureFile, ThinkingStyle, write_mixture
from ._pair import Pair
from ._pairs import Pairs, read_pairs
from ._prompts import prompt_hash, prompt_key, read_prompt_hashes
from ._thought import join_trace, split_trace, strip_empty_thought
from ._tokens import TEMPLATE_TOKENS, TokenCounter, load_counter

__all__ = [
    "TEMPLATE_TOKENS",
    "BrokenLine",
    "Mixture",
    "MixtureFile",
    "ObjectLine",
    "Pair",
    "Pairs",
    "ThinkingStyle",
    "TokenCounter",
    "TraceLengths",
    "describe_lines",
    "join_trace",
    "load_counter",
    "measure_lengths",
    "prompt_hash",
    "prompt_key",
    "read_objects",
    "read_pairs",
    "read_prompt_hashes",
    "split_trace",
    "strip_empty_thought",
    "write_mixture",
]
