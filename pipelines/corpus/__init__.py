"""Plan in, corpus files out: the shuffled text itself, for people and tools that want it."""

from pipelines.corpus.layout import corpus_names as corpus_names
from pipelines.corpus.metas import with_set_name as with_set_name
from pipelines.corpus.stage import CorpusResult as CorpusResult
from pipelines.corpus.stage import write_corpus_files as write_corpus_files
