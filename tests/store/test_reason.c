/* SPDX-License-Identifier: Apache-2.0 */
/* Reasons: cut, never overflown, and printable. */
#include "store/reason.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(reason, is_filled_in_and_returns_the_negative_errno)
{
	struct reason reason = {0};

	cr_assert_eq(reason_set(&reason, EIO, "store_failed", "file %d", 7), -EIO);
	cr_assert_eq(reason.error, EIO);
	cr_assert_str_eq(reason.code, "store_failed");
	cr_assert_str_eq(reason.message, "file 7");
	reason_prefix(&reason, "state");
	cr_assert_str_eq(reason.message, "state: file 7");
}

Test(reason, nobody_to_tell_is_fine)
{
	cr_assert_eq(reason_set(NULL, ENOENT, "x", "y"), -ENOENT);
	reason_name_entry(NULL, "a", 1);
	reason_prefix(NULL, "a");
}

Test(reason, long_texts_are_cut)
{
	struct reason reason = {0};
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	reason_set(&reason, EIO, text, "%s", text);
	cr_assert_eq(strlen(reason.code), sizeof(reason.code) - 1);
	cr_assert_eq(strlen(reason.message), sizeof(reason.message) - 1);
	reason_prefix(&reason, text);
	cr_assert_lt(strlen(reason.message), sizeof(reason.message));
	reason_name_entry(&reason, text, sizeof(text) - 1);
	cr_assert_lt(strlen(reason.entry), sizeof(reason.entry));
	cr_assert_not_null(strstr(reason.entry, "..."));
}

Test(reason, an_entry_shows_its_unprintable_bytes)
{
	struct reason reason = {0};

	reason_name_entry(&reason, "a\n\\\xff", 4);
	cr_assert_str_eq(reason.entry, "a\\012\\134\\377");
}
