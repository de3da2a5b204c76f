#!/bin/sh
# Becomes one program of a harness, a node or a server beside one. The crate that starts it runs this in place of the
# program; every step replaces this process, so the program keeps its process id. The harness puts its values in place of
# the @NAMES@.

if [ "$1" != inner ]; then
    # A crate that tries again by itself gets no second start here: that is the harness's to decide.
    set -C
    : >@STARTED@ || exit 1
    set +C
    exec >>@OUTPUT@ 2>&1
    # The kernel kills the program when the harness's thread that keeps it ends, even by SIGKILL.
    exec setpriv --pdeathsig KILL -- "$0" inner "$@"
fi
shift
# If the harness died before the line above took hold, no signal will come.
[ "$PPID" = @HARNESS@ ] || exit 1
# Held open until the program ends, so that the harness's read of the pipe ends with it, whatever ends it. This waits for
# the harness to open its end: by now the end of the harness ends the wait.
exec 9>@ALIVE@

# Each port is only a guess of a free one until it is locked. The locks, too, live as long as the program.
ports=@PORTS@
descriptor=3
lock() {
    eval "exec $descriptor>>\"\$ports/\$1\""
    flock --nonblock "$descriptor" || { echo "port $1 is another harness's"; : >@PORT_TAKEN@; exit 1; }
    descriptor=$((descriptor + 1))
}
for argument in "$@"; do
    shift
    case $argument in
        -rpcport=*) lock "${argument#*=}" ;;
        -bind=*) lock "${argument##*:}" ;;
        # The crate `electrsd` would offer its server to everybody.
        0.0.0.0:*) argument=127.0.0.1:${argument#*:}; lock "${argument#*:}" ;;
    esac
    set -- "$@" "$argument"
done

echo $$ >@PID@
exec @PROGRAM@ "$@"
