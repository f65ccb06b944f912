"""Training data: reading pairs and traces, counting tokens, writing the files of a mixture.

Importing this needs the standard library only.
"""

from ._lengths import TraceLengths, measure_lengths
from ._lines import BrokenLine, ObjectLine, describe_lines, hash_file, read_objects
from ._mixture import Mixture, MixtureFile, ThinkingStyle, write_mixture
from ._pair import ANSWERS, Pair
from ._pairs import Pairs, read_pairs
from ._places import put_folder, sync_path
from ._prompts import prompt_hash, prompt_key, read_prompt_hashes
from ._quantiles import nearest_rank, row_tokens
from ._thought import join_trace, split_trace, strip_empty_thought
from ._tokens import TEMPLATE_TOKENS, TokenCounter, load_counter

__all__ = [
    "ANSWERS",
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
    "hash_file",
    "join_trace",
    "load_counter",
    "measure_lengths",
    "nearest_rank",
    "prompt_hash",
    "prompt_key",
    "put_folder",
    "read_objects",
    "read_pairs",
    "read_prompt_hashes",
    "row_tokens",
    "split_trace",
    "strip_empty_thought",
    "sync_path",
    "write_mixture",
]
