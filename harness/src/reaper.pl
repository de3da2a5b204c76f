# Removes every container and network of a run. Arguments: the engine's socket, and the run's name.
use strict;
use warnings;
use IO::Socket::UNIX;

my ($socket, $run) = @ARGV;
# What the harness had asked for just before it was killed comes into being a little later.
my $quiet_seconds = 3;
# An engine that does not answer is not waited for for ever.
alarm 120;

# One question and its answer: the status and the body.
sub ask {
    my ($method, $path) = @_;
    my $engine = IO::Socket::UNIX->new(Peer => $socket) or die "shopfloor: $socket: $!\n";
    # In this version of HTTP the answer ends with the connection.
    print {$engine} "$method $path HTTP/1.0\r\nHost: localhost\r\n\r\n";
    $engine->flush;
    local $/;
    my $answer = <$engine> // '';
    $answer =~ m{\AHTTP/1\.\d (\d+).*?\r\n\r\n(.*)\z}s or die "shopfloor: $socket: no answer to $method $path\n";
    return ($1, $2);
}

# What a list holds, by its ids.
sub ids {
    my ($path) = @_;
    my ($status, $body) = ask('GET', $path);
    $status == 200 or die "shopfloor: $socket: $path: $body\n";
    return $body =~ /"Id":"([0-9a-f]+)"/g;
}

my $filter = qq({"label":["org.shopfloor.run=$run"]});
$filter =~ s/([^A-Za-z0-9._-])/sprintf '%%%02X', ord $1/ge;
my $quiet_since = time;
while (time - $quiet_since <= $quiet_seconds) {
    my %things = (
        containers => [ids("/containers/json?all=1&filters=$filter")],
        networks   => [ids("/networks?filters=$filter")],
    );
    for my $kind (sort keys %things) {
        my $options = $kind eq 'containers' ? '?force=1&v=1' : '';
        for my $id (@{ $things{$kind} }) {
            my ($status, $body) = ask('DELETE', "/$kind/$id$options");
            # Gone already, on its way out, or a network that a container has not left yet: all tried again.
            $status =~ /\A(?:2\d\d|403|404|409)\z/ or die "shopfloor: $socket: $kind $id: $body\n";
            $quiet_since = time;
        }
    }
    select undef, undef, undef, 0.1;
}
