# Read by every bash of this image (BASH_ENV), before the script that the Google Batch executor of Snakemake generates.
#
# That script calls pip after the job, so its exit code would be pip's, and a failed job would count as succeeded.
# Stop at the first error instead.
set -euo pipefail

# It also installs Snakemake's storage plugin before the job and two packages after it, from the internet. The image has
# what is needed, in the versions of constraints.txt; the machine may have no way to the internet.
pip() { echo "haystack: not run in this image: pip $*"; }
python3() {
    if [ "${1-} ${2-}" = "-m pip" ]; then
        pip "${@:3}"
    else
        command python3 "$@"
    fi
}
