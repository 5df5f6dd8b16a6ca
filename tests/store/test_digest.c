/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 against known values, and its hex form. */
#include "store/digest.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define OF_ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OF_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

Test(digest, agrees_with_the_standard)
{
	char hex[DIGEST_HEX + 1];
	struct digest digest;

	cr_assert_eq(digest_of("abc", 3, &digest), 0);
	cr_assert_str_eq(digest_hex(&digest, hex), OF_ABC);
	cr_assert_eq(digest_of("", 0, &digest), 0);
	cr_assert_str_eq(digest_hex(&digest, hex), OF_EMPTY);
}

Test(digest, a_stream_hashes_one_content_after_another)
{
	char hex[DIGEST_HEX + 1];
	struct digest_stream stream;
	struct digest digest;

	cr_assert_eq(digest_open(&stream), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(digest_add(&stream, "a", 1), 0);
		cr_assert_eq(digest_add(&stream, "bc", 2), 0);
		cr_assert_eq(digest_finish(&stream, &digest), 0);
		cr_assert_str_eq(digest_hex(&digest, hex), OF_ABC);
	}
	digest_close(&stream);
	digest_close(&stream);
}

Test(digest, only_64_lowercase_digits_are_hex)
{
	char hex[DIGEST_HEX + 1], upper[] = OF_ABC;
	struct digest digest, again;

	cr_assert_eq(digest_parse(OF_ABC, DIGEST_HEX, &digest), 0);
	cr_assert_str_eq(digest_hex(&digest, hex), OF_ABC);
	cr_assert_eq(digest_parse(hex, DIGEST_HEX, &again), 0);
	cr_assert(digest_equal(&digest, &again));
	cr_assert_eq(digest_compare(&digest, &again), 0);
	cr_assert_eq(digest_parse(OF_ABC, DIGEST_HEX - 1, &digest), -EINVAL);
	upper[0] = 'B';
	cr_assert_eq(digest_parse(upper, DIGEST_HEX, &digest), -EINVAL);
	upper[0] = 'g';
	cr_assert_eq(digest_parse(upper, DIGEST_HEX, &digest), -EINVAL);
}
