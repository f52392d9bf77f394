"""A recipe and GPUs in, what each way to share the work needs out; torch only in the dry run."""
