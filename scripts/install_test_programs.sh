#!/usr/bin/env bash
# Install the programs that some tests start, where that is possible: Chromium for the status page,
# PostgreSQL for the decision log. Tests that find none are skipped and say so.
#
# Usage: scripts/install_test_programs.sh
#
# Needs Debian or Ubuntu and root; does nothing where both programs are there already.
set -euo pipefail

missing=()
command -v chromium > /dev/null || missing+=(chromium)
command -v initdb > /dev/null || compgen -G "/usr/lib/postgresql/*/bin/initdb" > /dev/null ||
    missing+=(postgresql)
[[ ${#missing[@]} -eq 0 ]] && exit 0

if [[ "$(id -u)" != 0 ]] || ! command -v apt-get > /dev/null; then
    echo "not installed, and their tests are skipped: ${missing[*]}" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } > /dev/null 2>&1; then
    echo "apt-get could not install ${missing[*]}: their tests are skipped" >&2
fi
