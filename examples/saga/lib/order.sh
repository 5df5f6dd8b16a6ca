# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# Reads the order. Sourced.

# What cannot be right in any attempt ends the run at once.
order_invalid() {
	echo "the order is invalid: $1" >&2
	exit 100
}

# order_check KEY VALUE: these texts become arguments and JSON, so they are plain words.
order_check() {
	case $2 in
	'') order_invalid "$1 is missing" ;;
	*[!A-Za-z0-9._-]*) order_invalid "$1 may have A-Z a-z 0-9 . _ - only" ;;
	esac
}

# Everybody may make names in /tmp: one that somebody else made is not used.
order_own_ledger() {
	ledger=$1
	mkdir -m 700 "$ledger" 2>/dev/null || :
	if [ -L "$ledger" ] || [ ! -d "$ledger" ] || [ ! -O "$ledger" ]; then
		order_invalid "$ledger is not ours: name another ledger"
	fi
}

order_read() {
	order='' item='' quantity=1 amount='' ledger=''
	while IFS='=' read -r key value || [ -n "$key" ]; do
		case $key in
		'' | '#'*) ;;
		order) order=$value ;;
		item) item=$value ;;
		quantity) quantity=$value ;;
		amount) amount=$value ;;
		ledger) ledger=$value ;;
		*) order_invalid "there is no key $key" ;;
		esac
	done
	order_check order "$order"
	order_check item "$item"
	order_check quantity "$quantity"
	order_check amount "$amount"
	case $ledger in
	/*) ;;
	'') order_own_ledger "/tmp/aionfs-saga-$(id -u)" ;;
	*) order_invalid "ledger must be an absolute path" ;;
	esac
}
