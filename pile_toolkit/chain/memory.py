"""What a stage works on in, the most memory it takes out: the bounds that `pile plan` prints and benchmarks measure.

A bound is of resident memory, of all processes of a stage together. Each is a sum of terms that say what they are for;
their constants are rounded up from what `benchmarks/memory.py` measures, which fails where one is exceeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pile_toolkit.core.components import downloaded_slugs, read_component
from pile_toolkit.core.documents import LINE_MEMORY_FACTOR
from pile_toolkit.core.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 1 << 20
# Processes before they have any data: Python alone, with numpy and pyarrow, with an encoder, with torch.
PLAIN_BYTES = 64 * _MIB
TABLES_BYTES = 160 * _MIB
ENCODER_BYTES = 240 * _MIB
TORCH_BYTES = 480 * _MIB
# With numba and the kernels that sign and cluster.
KERNELS_BYTES = 232 * _MIB
# A batch of texts; of band hashes a block of each band, of which there are fewer than a quarter of the permutations.
SIGNING_BYTES = 64 * _MIB
BAND_BLOCK_BYTES = 512 << 10
# A batch of texts, their ids and the words met before.
ENCODING_BYTES = 160 * _MIB
# What merges, and a worker with its table of words before it writes them down.
TRAINER_BYTES = 400 * _MIB
COUNTING_BYTES = 600 * _MIB
# Distinct words: no more than the text of a small corpus; of a large one an estimate, under which --min-count leads.
WORDS_LARGEST_BYTES = 32 << 30
# Two groups of rows, which reading part of a table takes.
GROUPS_BYTES = 48 * _MIB
# What is in memory while one text is worked on, in multiples of its bytes.
NORMALIZED_FACTOR = 10
SIGNED_FACTOR = 10
SEARCHED_FACTOR = 30
ENCODED_FACTOR = 8
TRAINED_FACTOR = 16
# Of a byte of evaluation sets: 50 while the table of their n-grams is made, 110 later where all of them were found.
SOUGHT_FACTOR = 128
# Of a plan a table of hashes (four places of 20 bytes a document, 2^25 at most), then copies in the order of their keys
# (2^23 at most), never both at once.
HASHED_DOCUMENT_BYTES = 80
HASHES_LARGEST_BYTES = 704 * _MIB
ORDERED_COPY_BYTES = 80
ORDERED_LARGEST_BYTES = 640 * _MIB
# A copy of a text while its output file is sorted: its meta, the key, and Python's objects for them.
SORTED_COPY_BYTES = 600
BUCKET_BLOCK_BYTES = 512 << 10
# Of a document, in tables of all of them.
CLUSTERED_DOCUMENT_BYTES = 44
BUCKETED_DOCUMENT_BYTES = 24
PLANNED_DOCUMENT_BYTES = 16
# What writes shards has copies in the order of their keys (2^20 at most, or one part in 256), a mix what it decides
# by document and the index that it reads.
DEALT_COPY_BYTES = 240
DEALT_LARGEST_BYTES = 288 * _MIB
MIXED_DOCUMENT_BYTES = 60
MIXED_COPY_BYTES = 48
# A row of the plan of one file, where they are all in memory: statistics, the corpus, `pile why`.
FILE_ROW_BYTES = 160
READ_COPY_BYTES = 48
# Of a document whose lengths are like no other's; of one that filters may have dropped.
MEASURED_DOCUMENT_BYTES = 48
FILTERED_DOCUMENT_BYTES = 28
# A document with its words, lines and n-grams, in multiples of its bytes.
FILTERED_FACTOR = 40
# A block of documents on its way through filters or statistics, and the sample that is compressed.
BLOCK_OF_DOCUMENTS_BYTES = 64 * _MIB
# Compiled code; and of how much text a byte is taken while a sample index is built, at the shortest usual length (64).
INDEXING_BYTES = 40 * _MIB
INDEXED_TEXT_BYTES = 5
# Some blocks of a .bin a thread, and what is mapped of one that is read in another order.
BLOCKS_BYTES = 64 * _MIB
MAPPED_BYTES = 128 * _MIB
# Weights, gradients and the two moments of the optimizer, with a copy for the checkpoint; logits and their gradients.
TRAINED_PARAMETER_BYTES = 24
TRAINED_LOGITS = 6


class MemoryInput(msgspec.Struct, frozen=True, kw_only=True):
    """What the bounds depend on; `copies` and `copied_bytes` count a document as often as the mixture has it.

    `against_bytes` are those of the files of the evaluation sets, uncompressed.
    """

    documents: int
    copies: int
    text_bytes: int
    copied_bytes: int
    largest_file_documents: int
    largest_component_documents: int
    longest_bytes: int
    against_bytes: int = 0
    train_shards: int = 30
    num_perm: int = 128
    # Those of the recipe `debug` with 50,257 ids.
    parameters: int = 6_600_000
    logits_bytes: int = 2 * 128 * 50_304 * 4


def counted(root: Path, *, train_shards: int) -> MemoryInput:
    """What the components and the plan of a root hold. Raises UsageError where no plan was built."""
    components = [read_component(root, slug) for slug in downloaded_slugs(root)]
    totals = Plan.read(root).totals()
    return MemoryInput(
        documents=sum(item.documents for item in components),
        copies=totals.copies,
        text_bytes=sum(item.text_bytes for item in components),
        copied_bytes=totals.copied_bytes,
        largest_file_documents=max(file.counts.documents for item in components for file in item.files),
        largest_component_documents=max(item.documents for item in components),
        longest_bytes=totals.longest_bytes,
        train_shards=train_shards,
    )


def memory_bounds(work: MemoryInput, *, jobs: int = 1) -> dict[str, int]:
    """Bytes per stage with so many worker processes; with one job the command works by itself."""
    at_once, processes = jobs, 1 + (jobs if jobs > 1 else 0)
    read = LINE_MEMORY_FACTOR * work.longest_bytes
    rows = FILE_ROW_BYTES * work.largest_file_documents
    # Less where --memory says so: what finds buckets takes what is there.
    exact = processes * KERNELS_BYTES + at_once * (SIGNING_BYTES + read + NORMALIZED_FACTOR * work.longest_bytes)
    exact += (CLUSTERED_DOCUMENT_BYTES + at_once * BUCKETED_DOCUMENT_BYTES) * work.documents
    signed = at_once * (BAND_BLOCK_BYTES * work.num_perm // 4 + SIGNED_FACTOR * work.longest_bytes)
    # Where the n-grams are found once on average; each further place of one takes 300 bytes.
    searched = SOUGHT_FACTOR * work.against_bytes + at_once * SEARCHED_FACTOR * work.longest_bytes
    assembled = _assembling(work)
    written = processes * ENCODER_BYTES + assembled
    written += at_once * (GROUPS_BYTES + ENCODING_BYTES + read + ENCODED_FACTOR * work.longest_bytes)
    filtered = processes * KERNELS_BYTES + at_once * (
        BLOCK_OF_DOCUMENTS_BYTES + read + FILTERED_FACTOR * work.longest_bytes
    )
    return {
        "download": processes * PLAIN_BYTES + at_once * read,
        "download, filters": filtered + FILTERED_DOCUMENT_BYTES * work.documents,
        "dedup, exact": exact,
        "dedup, minhash": exact + signed,
        "dedup, against": exact + searched,
        "plan": _planning(work),
        # Less where --memory says so: what fits is sorted at once.
        "corpus": max(_planning(work), processes * KERNELS_BYTES + at_once * max(_dealing(work), _sorting(work))),
        "tokenizer": _training(work, jobs if jobs > 1 else 0)
        + TRAINED_FACTOR * work.longest_bytes
        + at_once * GROUPS_BYTES,
        "shards": written,
        "materialize": written + MAPPED_BYTES,
        "index": TABLES_BYTES
        + INDEXING_BYTES
        + 2 * READ_COPY_BYTES * work.copies
        + work.copied_bytes // INDEXED_TEXT_BYTES,
        "stats": ENCODER_BYTES + at_once * BLOCKS_BYTES + 2 * READ_COPY_BYTES * work.copies,
        "statistics": _measuring(work, processes, at_once),
        "shards verify": PLAIN_BYTES + at_once * BLOCKS_BYTES + MAPPED_BYTES + 2 * READ_COPY_BYTES * work.copies,
        "mix": TABLES_BYTES
        + GROUPS_BYTES
        + assembled
        + MIXED_DOCUMENT_BYTES * work.documents
        + MIXED_COPY_BYTES * work.copies,
        "train": TORCH_BYTES
        + TRAINED_PARAMETER_BYTES * work.parameters
        + TRAINED_LOGITS * work.logits_bytes
        + READ_COPY_BYTES * work.copies,
        "export": TORCH_BYTES + 16 * work.parameters,
        "report": ENCODER_BYTES + GROUPS_BYTES + READ_COPY_BYTES * work.copies + 24 * work.largest_component_documents,
        "why": TABLES_BYTES + GROUPS_BYTES + rows,
        "verify": PLAIN_BYTES,
    }


def _measuring(work: MemoryInput, processes: int, at_once: int) -> int:
    """`pile stats`: a block of documents of a file and its rows of the plan, encoded; lengths; the shards' index."""
    longest = (LINE_MEMORY_FACTOR + ENCODED_FACTOR) * work.longest_bytes
    one = BLOCK_OF_DOCUMENTS_BYTES + ENCODING_BYTES + GROUPS_BYTES + FILE_ROW_BYTES * work.largest_file_documents
    found = MEASURED_DOCUMENT_BYTES * work.documents + 2 * READ_COPY_BYTES * work.copies
    return processes * ENCODER_BYTES + at_once * (one + longest) + found


def _planning(work: MemoryInput) -> int:
    """Some bytes of every document, and what is looked at together, which is limited."""
    hashed = min(HASHED_DOCUMENT_BYTES * work.documents, HASHES_LARGEST_BYTES)
    ordered = min(ORDERED_COPY_BYTES * work.copies, ORDERED_LARGEST_BYTES)
    return KERNELS_BYTES + 2 * GROUPS_BYTES + PLANNED_DOCUMENT_BYTES * work.documents + max(hashed, ordered)


def _assembling(work: MemoryInput) -> int:
    """A range of copies while the index of shards is written; of very many copies ranges are longer."""
    return min(DEALT_COPY_BYTES * work.copies, max(DEALT_LARGEST_BYTES, DEALT_COPY_BYTES * work.copies // 256))


def _dealing(work: MemoryInput) -> int:
    """Pass 1 of the corpus: the rows of a file, its longest text, and a block of every output file."""
    longest = (LINE_MEMORY_FACTOR + 4) * work.longest_bytes
    return (
        GROUPS_BYTES + FILE_ROW_BYTES * work.largest_file_documents + longest + BUCKET_BLOCK_BYTES * work.train_shards
    )


def _sorting(work: MemoryInput) -> int:
    """Pass 2: one output file at once. Copies fall into them at random: one may be larger by a few of the longest."""
    in_one = work.copied_bytes + SORTED_COPY_BYTES * work.copies
    return in_one * 6 // (5 * work.train_shards) + 8 * work.longest_bytes


def _training(work: MemoryInput, counting: int) -> int:
    words = min(work.text_bytes, WORDS_LARGEST_BYTES)
    return (1 + counting) * TABLES_BYTES + TRAINER_BYTES + counting * COUNTING_BYTES + words
