/* SPDX-License-Identifier: Apache-2.0 */
/* The receipts of failed starts: the last one counts, the oldest give way. */
#include "fs/failures.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct failures *failures;

static void begin(void)
{
	failures = failures_new();
	cr_assert_not_null(failures);
}

static void end(void)
{
	failures_free(failures);
}

TestSuite(failures, .init = begin, .fini = end);

static void add(const char *name, const char *text)
{
	struct failure failure = {.text = text ? strdup(text) : NULL, .uid = 7, .at_ns = 9};

	failure.length = text ? strlen(text) : 0;
	failures_add(failures, name, &failure);
}

static void expect(const char *name, const char *text)
{
	struct failure failure;

	cr_assert_eq(failures_get(failures, name, &failure), 0, "%s", name);
	cr_assert_str_eq(failure.text, text);
	cr_assert_eq(failure.length, strlen(text));
	cr_assert_eq(failure.uid, 7u);
	cr_assert_eq(failure.at_ns, 9);
	free(failure.text);
}

Test(failures, the_last_one_counts)
{
	struct failure failure;

	cr_assert_eq(failures_get(failures, "order/1", &failure), -ENOENT);
	add("order/1", "one");
	add("order/2", "two");
	add("order/1", "three");
	expect("order/1", "three");
	expect("order/2", "two");
	cr_assert_eq(failures_remove(failures, "order/1"), 0);
	cr_assert_eq(failures_remove(failures, "order/1"), -ENOENT);
	cr_assert_eq(failures_get(failures, "order/1", &failure), -ENOENT);
	expect("order/2", "two");
}

Test(failures, a_removed_receipt_is_remembered)
{
	struct failure failure;

	add("order/1", NULL);
	cr_assert_eq(failures_get(failures, "order/1", &failure), 0);
	cr_assert_null(failure.text);
	add("order/1", "one");
	expect("order/1", "one");
}

Test(failures, the_oldest_give_way)
{
	struct failure failure;
	char name[32];

	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "order/%d", i);
		add(name, name);
	}
	cr_assert_eq(failures_get(failures, "order/499", &failure), -ENOENT);
	for (int i = 500; i < 1500; i++) {
		snprintf(name, sizeof(name), "order/%d", i);
		expect(name, name);
	}
}
