# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# What stands for the services that a real order needs: a directory of ledgers, one line an effect.
# Sourced by bin/reserve, charge, ship, release, refund.
#
#     LEDGER/calls        NAME KEY ORDER ATTEMPT    each time that a command was executed
#     LEDGER/NAME         KEY RECEIPT ORDER ...     each effect, once
#     LEDGER/refuse       lines "NAME ORDER REASON": what is to be refused, for trying it out
#     LEDGER/break        lines "NAME ORDER": as long as it is there, the service is out of order
#
# The KEY is made of the run's ID: the command may be executed twice (the attempt died after the
# effect and before its record), and then finds that it is done, as a payment service does that is
# given an idempotency key.

# effect NAME LEDGER ORDER DETAIL...: has the effect, unless it was had, and prints its receipt.
effect() {
	name=$1 ledger=$2 order=$3
	shift 3
	key=$AION_RUN_ID-$name
	mkdir -p "$ledger"
	echo "$name $key $order $AION_ATTEMPT" >>"$ledger/calls"

	receipt=$(awk -v key="$key" '$1 == key { print $2; exit }' "$ledger/$name" 2>/dev/null) || :
	if [ -n "$receipt" ]; then
		echo "$name of order $order was done already: $receipt" >&2
		echo "$receipt"
		return
	fi
	if grep -qsxF "$name $order" "$ledger/break"; then
		echo "$name: the service is out of order" >&2
		exit 75
	fi
	# A refusal is an answer like another: printed, recorded, final.
	reason=$(awk -v name="$name" -v order="$order" \
		'$1 == name && $2 == order { $1 = $2 = ""; print substr($0, 3); exit }' \
		"$ledger/refuse" 2>/dev/null) || :
	if [ -n "$reason" ]; then
		echo "refused: $reason"
		return
	fi
	receipt=$name-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
	echo "$key $receipt $order $*" >>"$ledger/$name"
	echo "$receipt"
}
