"""What answers cost here: teacher, student and exports measured side by side.

Nothing is imported here: `limbeck.benchmark.worker` is started in processes of its own, which must not wait for torch,
nor have it in the memory that is measured.
"""
