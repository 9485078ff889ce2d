"""All targets of the fuzzer."""

from tests.fuzz import environments, folders, options, readers, runs, templates

TARGETS = (
    *readers.TARGETS,
    *folders.TARGETS,
    *templates.TARGETS,
    *options.TARGETS,
    *runs.TARGETS,
    *environments.TARGETS,
)
