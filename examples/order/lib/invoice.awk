# SPDX-License-Identifier: Apache-2.0
# QUANTITY ARTICLE on each line; `prices` names the file with ARTICLE<tab>PRICE on each line.

BEGIN {
	while ((getline line < prices) > 0) {
		split(line, field, "\t")
		price[field[1]] = field[2]
	}
}

NF == 0 { next }

NF != 2 || $1 !~ /^[1-9][0-9]*$/ {
	printf "line %d: expected QUANTITY ARTICLE, got: %s\n", NR, $0 > "/dev/stderr"
	failed = 1
	exit 1
}

!($2 in price) {
	printf "line %d: there is no article called %s\n", NR, $2 > "/dev/stderr"
	failed = 1
	exit 1
}

{
	sum = $1 * price[$2]
	total += sum
	invoice = invoice sprintf("%4d x %-10s %8.2f\n", $1, $2, sum)
}

END {
	if (!failed)
		printf "%s%-17s %8.2f\n", invoice, "total", total
}
