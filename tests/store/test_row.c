/* SPDX-License-Identifier: Apache-2.0 */
/* The row codec: what was written is read, and nothing else is. */
#include "store/row.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static const char key[] = "key";

static size_t write_row(uint8_t *buffer, size_t room)
{
	struct row row;

	row_begin(&row, 7, buffer, room);
	row_put_u8(&row, 0xab);
	row_put_u32(&row, 0x01020304);
	row_put_u64(&row, 0xfffefdfcfbfaf9f8u);
	row_put_text(&row, "text", 4);
	cr_assert_eq(row_seal(&row, key, sizeof(key)), 0);
	return row.length;
}

static int read_row(const uint8_t *bytes, size_t length)
{
	struct row_view view;
	char text[5];
	int error = row_open(&view, 7, key, sizeof(key), bytes, length);

	if (error)
		return error;
	if (row_get_u8(&view) != 0xab || row_get_u32(&view) != 0x01020304 ||
	    row_get_u64(&view) != 0xfffefdfcfbfaf9f8u)
		return -EIO;
	row_get_text(&view, text, sizeof(text));
	return strcmp(text, "text") == 0 ? row_finish(&view) : -EIO;
}

Test(row, reads_what_was_written)
{
	uint8_t buffer[64];
	size_t length = write_row(buffer, sizeof(buffer));

	cr_assert_eq(length, 1 + 1 + 4 + 8 + 4 + 4 + 4u);
	cr_assert_eq(buffer[2], 1, "integers are big-endian");
	cr_assert_eq(read_row(buffer, length), 0);
}

Test(row, every_flipped_bit_and_every_cut_is_noticed)
{
	uint8_t buffer[64];
	size_t length = write_row(buffer, sizeof(buffer));

	for (size_t bit = 0; bit < 8 * length; bit++) {
		buffer[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_eq(read_row(buffer, length), -EBADMSG, "bit %zu", bit);
		buffer[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t cut = 0; cut < length; cut++)
		cr_assert_eq(read_row(buffer, cut), -EBADMSG, "length %zu", cut);
}

Test(row, a_row_under_another_key_or_of_another_layout_is_refused)
{
	struct row_view view;
	uint8_t buffer[64];
	size_t length = write_row(buffer, sizeof(buffer));

	cr_assert_eq(row_open(&view, 7, "kex", 4, buffer, length), -EBADMSG);
	cr_assert_eq(row_open(&view, 8, key, sizeof(key), buffer, length), -EBADMSG);
	cr_assert_eq(row_open(&view, 7, key, sizeof(key), buffer, length), 0);
}

Test(row, fields_past_the_end_and_bytes_left_over_fail)
{
	struct row_view view;
	uint8_t buffer[64];
	size_t length = write_row(buffer, sizeof(buffer));

	cr_assert_eq(row_open(&view, 7, key, sizeof(key), buffer, length), 0);
	row_get_u8(&view);
	cr_assert_eq(row_finish(&view), -EBADMSG, "bytes are left");
	cr_assert_null(row_get_bytes(&view, 1000));
	cr_assert_eq(row_get_u64(&view), 0, "nothing is read after a failure");
	cr_assert_eq(row_finish(&view), -EBADMSG);
}

Test(row, texts_with_a_nul_or_without_room_fail)
{
	struct row_view view;
	uint8_t buffer[64];
	char text[4];
	struct row row;

	row_begin(&row, 1, buffer, sizeof(buffer));
	row_put_text(&row, "a\0b", 3);
	cr_assert_eq(row_seal(&row, key, sizeof(key)), 0);
	cr_assert_eq(row_open(&view, 1, key, sizeof(key), buffer, row.length), 0);
	row_get_text(&view, text, sizeof(text));
	cr_assert_str_empty(text);
	cr_assert_eq(row_finish(&view), -EBADMSG);

	row_begin(&row, 1, buffer, sizeof(buffer));
	row_put_text(&row, "four", 4);
	cr_assert_eq(row_seal(&row, key, sizeof(key)), 0);
	cr_assert_eq(row_open(&view, 1, key, sizeof(key), buffer, row.length), 0);
	row_get_text(&view, text, sizeof(text));
	cr_assert_eq(row_finish(&view), -EBADMSG);
}

Test(row, what_does_not_fit_is_refused_when_it_is_sealed)
{
	uint8_t buffer[8];
	struct row row;

	row_begin(&row, 1, buffer, sizeof(buffer));
	row_put_u64(&row, 1);
	cr_assert_eq(row_seal(&row, key, sizeof(key)), -EFBIG);
}
