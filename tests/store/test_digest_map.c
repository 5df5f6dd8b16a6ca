/* SPDX-License-Identifier: Apache-2.0 */
/* The map of digests against a plain array, with keys that all begin at the same place. */
#include "store/digest_map.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 200

static struct digest make_key(unsigned int number, bool crowded)
{
	struct digest key = {0};

	/* The first eight bytes are the hash. */
	if (crowded)
		memcpy(key.bytes, "\x3d\0\0\0\0\0\0", 8);
	else
		memcpy(key.bytes, &number, sizeof(number));
	memcpy(key.bytes + 8, &number, sizeof(number));
	return key;
}

static void against_array(bool crowded)
{
	struct digest_map map = {0};
	uint8_t expected[KEYS] = {0};
	unsigned int state = 1, count = 0;

	for (int step = 0; step < 20000; step++) {
		unsigned int number;
		struct digest key;

		state = state * 1103515245 + 12345;
		number = (state >> 8) % KEYS;
		key = make_key(number, crowded);
		cr_assert_eq(digest_map_get(&map, &key), expected[number]);
		if (state >> 30 == 0) {
			digest_map_remove(&map, &key);
			expected[number] = 0;
		} else {
			expected[number] = (uint8_t)(1 + (state >> 24) % 255);
			cr_assert_eq(digest_map_set(&map, &key, expected[number]), 0);
		}
	}
	for (unsigned int i = 0; i < KEYS; i++) {
		struct digest key = make_key(i, crowded);

		cr_assert_eq(digest_map_get(&map, &key), expected[i]);
		count += expected[i] != 0;
	}
	cr_assert_eq(map.count, count);
	digest_map_clear(&map);
	cr_assert_eq(map.count, 0);
}

Test(digest_map, agrees_with_an_array)
{
	against_array(false);
}

Test(digest_map, agrees_with_an_array_when_all_keys_want_one_place)
{
	against_array(true);
}

Test(digest_map, an_empty_one_answers)
{
	struct digest_map map = {0};
	struct digest key = make_key(1, false);

	cr_assert_eq(digest_map_get(&map, &key), 0);
	digest_map_remove(&map, &key);
	digest_map_clear(&map);
}
