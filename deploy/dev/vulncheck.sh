#!/bin/sh
# Fails where the program calls something that is known to be vulnerable. Where the database of vulnerabilities cannot be
# reached nothing is known, and that is said.
#
#   deploy/dev/vulncheck.sh COMMAND...   the command that is govulncheck
set -eu

said=$(mktemp)
trap 'rm -f "$said"' EXIT
status=0
"$@" ./... >"$said" 2>&1 || status=$?
case $status in
0) ;;
3) # https://pkg.go.dev/golang.org/x/vuln/cmd/govulncheck: Exit codes
	cat "$said" >&2
	echo "vulncheck: upgrade what is named above (docs/decisions/0023-moving-on.md)" >&2
	exit 1
	;;
*)
	if grep -qiE 'fetching vulnerabilities|dial tcp|no such host|connection refused|HTTP GET|proxyconnect' "$said"; then
		echo "vulncheck: NOT CHECKED: the database of vulnerabilities cannot be reached from here: $(tail -n 1 "$said")"
		exit 0
	fi
	cat "$said" >&2
	exit 1
	;;
esac
