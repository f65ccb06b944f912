"""Conformance suites for backends and policies, ours and yours.

Each check asks a few short questions and compares what comes back with what `Backend` and
`Policy` promise. A check that needs a capability the backend does not claim is skipped, as is
one whose answer a recording does not hold; everything else passes or fails with a reason.

    report = await check_backend(MyBackend(...))
    report.raise_on_failure()
"""

from ._report import CheckReport, CheckResult, check_backend, check_policy

__all__ = ["CheckReport", "CheckResult", "check_backend", "check_policy"]
