#!/bin/sh
# Installs Debian's Prosody and ejabberd, which the tests federate with, and keeps them from starting as services.
# It never fails: where they cannot be installed, the tests that need them are skipped and say why.

packages="prosody lua-unbound ejabberd"
policy=/usr/sbin/policy-rc.d # what Debian asks whether a service may start

missing() {
	for package in $packages; do
		state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)
		[ "$state" = installed ] || echo "$package"
	done
}

install() {
	timeout 600 apt-get install --quiet --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || {
	echo "This is not Debian: tests with Prosody and ejabberd are skipped where those are not installed."
	exit 0
}
wanted=$(missing)
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	if sudo -n true 2>/dev/null; then
		sudo -n sh "$0"
		exit 0
	fi
	echo "Tests with other servers are skipped; for them, as root: apt-get install --no-install-recommends" $wanted
	exit 0
fi

exec 9</usr/sbin # one at a time, for two would leave each other's policy behind
flock 9
wanted=$(missing)
[ -n "$wanted" ] || exit 0
echo "Installing for the tests:" $wanted
[ ! -e "$policy" ] || mv "$policy" "$policy.before-tests"
trap 'rm -f "$policy"; [ ! -e "$policy.before-tests" ] || mv "$policy.before-tests" "$policy"' EXIT
trap 'exit 0' HUP INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"
export DEBIAN_FRONTEND=noninteractive
{
	# The first try is without asking for news, which may be all it takes.
	install $wanted || { timeout 300 apt-get update --quiet --quiet && install $wanted; }
} </dev/null >/dev/null 2>&1
wanted=$(missing)
[ -z "$wanted" ] || echo "Not installed, so tests with them are skipped:" $wanted
exit 0
