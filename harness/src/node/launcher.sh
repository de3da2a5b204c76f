#!/bin/sh
# Becomes one bitcoind of a harness. The crate `bitcoind` runs this in place of the program; every step replaces this
# process, so the node keeps its process id. The harness puts its values in place of the @NAMES@.

# Held open until the node ends, so that the harness's read of the pipe ends with the node, whatever ends it.
exec 9>@ALIVE@
exec 2>>@STDERR@

if [ "$1" != inner ]; then
    # The kernel kills the node when the harness's thread that keeps it ends, even by SIGKILL.
    exec setpriv --pdeathsig KILL -- "$0" inner "$@"
fi
shift
# If the harness died before the line above took hold, no signal will come.
[ "$PPID" = @HARNESS@ ] || exit 1

for argument in "$@"; do
    case $argument in -rpcport=*) port=${argument#*=} ;; esac
done
# The port is only a guess of a free one until it is locked. The lock, too, lives as long as the node.
exec 8>>@PORTS@/"$port"
flock --nonblock 8 || { echo "port $port is another harness's" >&2; : >@PORT_TAKEN@; exit 1; }

echo $$ >@PID@
exec @PROGRAM@ "$@"
