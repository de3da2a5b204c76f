# Removes what is left of a run when standard input ends. The program for a container engine is $1.
dir=$SHOPFLOOR_REAPER_DIR
run=$SHOPFLOOR_REAPER_RUN
# Whoever hangs up the terminal has the harness end, and this afterwards.
trap '' INT HUP
echo ready
exec >/dev/null

engine=
while IFS= read -r line; do
    case $line in "engine "*) engine=${line#engine } ;; esac
done

# Containers first: they write into the folder.
if [ -n "$engine" ]; then
    perl -e "$1" "$engine" "$run" || echo "shopfloor: containers or networks of run $run may be left" >&2
fi
[ -d "$dir" ] || exit 0

# The kernel ends the run's processes, which takes it a moment. They name the folder in their command lines. What it does
# not end in time is ended here. What grep finds counts, not how it ends: some other process always goes meanwhile, and that
# is an error to it.
tries=100
while [ "$tries" -gt 0 ]; do
    left=$(printf '%s\n' "$dir/" | grep -lsFf - /proc/[0-9]*/cmdline)
    [ -n "$left" ] || break
    tries=$((tries - 1))
    if [ "$tries" -lt 80 ]; then
        for process in $left; do
            process=${process#/proc/}
            kill -KILL "${process%/cmdline}" 2>/dev/null
        done
    fi
    sleep 0.1
done

# Under the lock that everybody takes who makes or removes folders of runs.
{
    flock 9
    [ -e "$dir/kept" ] || rm -rf -- "$dir"
} 9>>"${dir%/*}/lock"
