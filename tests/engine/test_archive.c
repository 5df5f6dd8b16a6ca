/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the decoder makes of archives: names as bytes, kinds, holes, ends, sums; and what it
 * refuses. The large corpus of real and damaged archives is in tests/corpus; these are the cases
 * that a change of libarchive or of the walks in front of it would break first.
 */
#include "tests/engine/decoding.h"

#include <errno.h>
#include <lzma.h>

/* "é" as one code point, and as an e with an accent that is put on it. */
#define COMPOSED "\xc3\xa9"
#define DECOMPOSED "e\xcc\x81"

Test(archive, tar_of_every_kind)
{
	struct builder tar = {0};

	builder_tar(&tar, '5', "d/", NULL, "", 0);
	builder_tar_file(&tar, "d/f", "text");
	builder_tar(&tar, '2', "l", "d/f", "", 0);
	builder_tar(&tar, '1', "h", "d/f", "", 0);
	builder_tar(&tar, '7', "contiguous", NULL, "c", 1);
	builder_tar(&tar, '\0', "old", NULL, "o", 1);
	builder_tar_end(&tar);
	expect_entries(&tar, "dir d/\nfile d/f x text\nlink l -> d/f\nhard h -> d/f\n"
			     "file contiguous x c\nfile old x o\n");
}

Test(archive, names_of_tar_are_the_bytes_that_it_holds)
{
	struct builder tar = {0};

	builder_tar_file(&tar, COMPOSED, "1");
	builder_tar_file(&tar, DECOMPOSED, "2");
	builder_tar_file(&tar, "\xff\xfe", "3");
	builder_tar_pax(&tar, 'x', "path", DECOMPOSED "x", 4);
	builder_tar_file(&tar, "short", "4");
	builder_tar_pax(&tar, 'x', "path", "\xff", 1);
	builder_tar_file(&tar, "short", "5");
	builder_tar_pax(&tar, 'x', "linkpath", DECOMPOSED, 3);
	builder_tar(&tar, '2', "l", "short", "", 0);
	builder_tar(&tar, 'L', "././@LongLink", NULL, "\xfe" DECOMPOSED, 5);
	builder_tar_file(&tar, "short", "6");
	builder_tar_end(&tar);
	expect_entries(&tar, "file \\xc3\\xa9 x 1\nfile e\\xcc\\x81 x 2\nfile \\xff\\xfe x 3\n"
			     "file e\\xcc\\x81x x 4\nfile \\xff x 5\nlink l -> e\\xcc\\x81\n"
			     "file \\xfee\\xcc\\x81 x 6\n");
}

Test(archive, a_target_makes_no_link_of_a_file)
{
	struct builder tar = {0};

	builder_tar_pax(&tar, 'x', "linkpath", "elsewhere", 9);
	builder_tar_file(&tar, "f", "text");
	builder_tar_end(&tar);
	expect_entries(&tar, "file f x text\n");
}

Test(archive, names_cut_at_a_nul_are_refused)
{
	struct builder tar = {0}, longer = {0}, cpio = {0};

	builder_tar_pax(&tar, 'x', "path", "a\0b", 3);
	builder_tar_file(&tar, "f", "");
	builder_tar_end(&tar);
	expect_refusal(&tar, EINVAL, "name_invalid");
	builder_tar(&longer, 'L', "././@LongLink", NULL, "a\0b", 4);
	builder_tar_file(&longer, "f", "");
	builder_tar_end(&longer);
	expect_refusal(&longer, EINVAL, "name_invalid");
	builder_cpio(&cpio, "070701", "a\0b", 4, 0100644, 1, 1, "", 0);
	builder_cpio_end(&cpio, "070701");
	expect_refusal(&cpio, EINVAL, "name_invalid");
}

Test(archive, names_that_no_filesystem_holds_are_refused)
{
	static char name[4200];
	struct builder empty = {0}, component = {0}, path = {0}, fits = {0};
	char text[320];

	builder_tar_file(&empty, "", "x");
	builder_tar_end(&empty);
	expect_refusal(&empty, EINVAL, "name_invalid");
	memset(name, 'n', sizeof(name));
	builder_tar_pax(&component, 'x', "path", name, 256);
	builder_tar_file(&component, "f", "");
	builder_tar_end(&component);
	expect_refusal(&component, EINVAL, "name_invalid");
	builder_tar_pax(&fits, 'x', "path", name, 255);
	builder_tar_file(&fits, "f", "");
	builder_tar_end(&fits);
	snprintf(text, sizeof(text), "file %.255s x\n", name);
	expect_entries(&fits, text);
	for (size_t i = 100; i < sizeof(name); i += 100)
		name[i] = '/';
	builder_tar_pax(&path, 'x', "path", name, 4096);
	builder_tar_file(&path, "f", "");
	builder_tar_end(&path);
	expect_refusal(&path, EINVAL, "name_invalid");
}

Test(archive, devices_and_fifos_are_refused)
{
	for (const char *type = "346DMNZ"; *type; type++) {
		struct builder tar = {0};

		builder_tar(&tar, *type, "odd", NULL, "", 0);
		builder_tar_end(&tar);
		expect_refusal(&tar, EINVAL, "entry_unsupported");
	}
}

Test(archive, malformed_pax_headers_are_refused)
{
	static const char *const records[] = {"9 path=a\n\n", "x path=a\n", "99 path=a\n",
					      "6 path\n",     "7 path=a\n", "0 path=a\n",
					      "9 size=-1\n",  "5 =a\n"};

	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		struct builder tar = {0};

		builder_tar(&tar, 'x', "pax", NULL, records[i], strlen(records[i]));
		builder_tar_file(&tar, "f", "text");
		builder_tar_end(&tar);
		expect_refusal(&tar, EBADMSG, "archive_corrupt");
	}
}

Test(archive, global_headers_may_comment_but_not_rename)
{
	struct builder comment = {0}, path = {0};

	builder_tar_pax(&comment, 'g', "comment", "0123", 4);
	builder_tar_file(&comment, "f", "text");
	builder_tar_end(&comment);
	expect_entries(&comment, "file f x text\n");
	builder_tar_pax(&path, 'g', "path", "g", 1);
	builder_tar_file(&path, "f", "text");
	builder_tar_end(&path);
	expect_refusal(&path, EBADMSG, "archive_unsupported");
}

/* An old GNU sparse file: 3 bytes at 1000, and `size` bytes in all. */
static void add_sparse(struct builder *tar, const char *real_size)
{
	size_t offset = tar->length;
	uint8_t *header;

	builder_tar(tar, 'S', "sparse", NULL, "abc", 3);
	header = tar->bytes + offset;
	memcpy(header + 257, "ustar  \0", 8);
	memcpy(header + 386, "00000001750\00000000000003", 24);
	memcpy(header + 483, real_size, 11);
	builder_tar_seal(tar, offset);
}

Test(archive, holes_are_zeros_and_count)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder small = {0}, huge = {0};

	add_sparse(&small, "00000004000");
	builder_tar_end(&small);
	cr_assert_eq(decode(&decoding, &small), 0, "%s", decoding.reason.message);
	cr_assert_str_eq(decoding.text, "file sparse x (2048)\n");
	cr_assert(decoding.nonzero);
	add_sparse(&huge, "77777777777");
	builder_tar_end(&huge);
	expect_refusal(&huge, EFBIG, "inflated_too_large");
}

Test(archive, hard_links_may_have_a_body)
{
	struct builder pax = {0}, old = {0};

	builder_tar_pax(&pax, 'g', "comment", "this is pax", 11);
	builder_tar_file(&pax, "f", "text");
	builder_tar(&pax, '1', "h", "f", "body", 4);
	builder_tar_end(&pax);
	expect_entries(&pax, "file f x text\nhard h -> f body\n");
	builder_tar_file(&old, "f", "text");
	builder_tar_header(&old, '1', "h", "f", 4);
	builder_tar_file(&old, "g", "more");
	builder_tar_end(&old);
	expect_entries(&old, "file f x text\nhard h -> f\nfile g x more\n");
}

Test(archive, tar_needs_its_end_and_nothing_behind_it)
{
	struct builder none = {0}, half = {0}, garbage = {0}, padded = {0}, cut = {0};

	builder_tar_file(&none, "f", "text");
	expect_refusal(&none, EBADMSG, "archive_truncated");
	builder_tar_file(&half, "f", "text");
	builder_add_zeros(&half, 512);
	expect_refusal(&half, EBADMSG, "archive_truncated");
	builder_tar_file(&garbage, "f", "text");
	builder_tar_end(&garbage);
	builder_add(&garbage, "x", 1);
	expect_refusal(&garbage, EBADMSG, "archive_corrupt");
	builder_tar_file(&padded, "f", "text");
	builder_add_zeros(&padded, 1 << 20);
	expect_entries(&padded, "file f x text\n");
	builder_tar_header(&cut, '0', "f", NULL, 100000);
	builder_add_zeros(&cut, 5000);
	expect_refusal(&cut, EBADMSG, "archive_truncated");
}

Test(archive, a_damaged_header_is_refused)
{
	struct builder tar = {0};

	builder_tar_file(&tar, "f", "text");
	builder_tar_file(&tar, "g", "text");
	tar.bytes[1024] ^= 1;
	builder_tar_end(&tar);
	expect_refusal(&tar, EBADMSG, "archive_corrupt");
}

Test(archive, cpio_with_links)
{
	struct builder cpio = {0};

	builder_cpio(&cpio, "070701", "d", 2, 0040755, 1, 2, "", 0);
	builder_cpio(&cpio, "070701", "a", 2, 0100755, 2, 2, "", 0);
	builder_cpio(&cpio, "070701", "b", 2, 0100755, 2, 2, "body", 0);
	builder_cpio(&cpio, "070701", "l", 2, 0120777, 3, 1, "d/" DECOMPOSED, 0);
	builder_cpio_end(&cpio, "070701");
	builder_add_zeros(&cpio, 300);
	expect_entries(&cpio, "dir d\nfile a x\nhard b -> a body\nlink l -> d/e\\xcc\\x81\n");
}

Test(archive, cpio_sums_and_ends_are_checked)
{
	struct builder right = {0}, wrong = {0}, open = {0}, garbage = {0}, fifo = {0};

	builder_cpio(&right, "070702", "a", 2, 0100644, 1, 1, "AB", 'A' + 'B');
	builder_cpio_end(&right, "070702");
	expect_entries(&right, "file a AB\n");
	builder_cpio(&wrong, "070702", "a", 2, 0100644, 1, 1, "AB", 'A');
	builder_cpio_end(&wrong, "070702");
	expect_refusal(&wrong, EBADMSG, "archive_corrupt");
	builder_cpio(&open, "070701", "a", 2, 0100644, 1, 1, "AB", 0);
	expect_refusal(&open, EBADMSG, "archive_truncated");
	builder_cpio_end(&garbage, "070701");
	builder_add(&garbage, "x", 1);
	expect_refusal(&garbage, EBADMSG, "archive_corrupt");
	builder_cpio(&fifo, "070701", "p", 2, 0010644, 1, 1, "", 0);
	builder_cpio_end(&fifo, "070701");
	expect_refusal(&fifo, EINVAL, "entry_unsupported");
}

static void build_zip(struct builder *zip)
{
	builder_zip(zip, "d/", 0040755, "");
	builder_zip(zip, "d/" DECOMPOSED, 0100755, "text");
	builder_zip(zip, "l", 0120777, "d/f");
}

Test(archive, zip_of_every_kind)
{
	struct builder zip = {0};

	build_zip(&zip);
	builder_zip(&zip, "plain", 0, "p");
	builder_zip_end(&zip);
	expect_entries(&zip, "dir d/\nfile d/e\\xcc\\x81 x text\nlink l -> d/f\nfile plain p\n");
}

Test(archive, zip_must_be_whole_and_say_one_thing)
{
	struct builder cut = {0}, sum = {0}, name = {0}, behind = {0}, front = {0}, locked = {0};

	build_zip(&cut);
	builder_zip_end(&cut);
	cut.length -= 30;
	expect_refusal(&cut, EBADMSG, "archive_truncated");
	build_zip(&sum);
	sum.bytes[sum.length - 1] ^= 1; /* the link's target */
	builder_zip_end(&sum);
	expect_refusal(&sum, EBADMSG, "archive_corrupt");
	build_zip(&name);
	name.bytes[30] ^= 1;
	builder_zip_end(&name);
	expect_refusal(&name, EINVAL, "entry_unsafe");
	build_zip(&behind);
	builder_zip_end(&behind);
	builder_add(&behind, "x", 1);
	expect_refusal(&behind, EBADMSG, "archive_corrupt");
	builder_add(&front, "#!/bin/sh\n", 10);
	build_zip(&front);
	builder_zip_end(&front);
	expect_refusal(&front, EBADMSG, "archive_unsupported");
	builder_zip(&locked, "f", 0100644, "text");
	locked.bytes[6] = locked.directory[8] = 1;
	builder_zip_end(&locked);
	expect_refusal(&locked, EBADMSG, "archive_encrypted");
}

Test(archive, zip_names_that_are_read_in_two_ways_are_refused)
{
	struct builder backslash = {0}, device = {0};

	builder_zip(&backslash, "a\\b", 0100644, "text");
	builder_zip_end(&backslash);
	expect_refusal(&backslash, EINVAL, "entry_unsafe");
	builder_zip(&device, "null", 0020666, "");
	builder_zip_end(&device);
	expect_refusal(&device, EINVAL, "entry_unsupported");
}

static void build_tar(struct builder *tar)
{
	builder_tar_file(tar, "f", "text");
	builder_tar_end(tar);
}

Test(archive, gzip_is_checked_to_its_last_byte)
{
	struct builder whole = {0}, two = {0}, cut = {0}, sum = {0}, behind = {0};
	uint8_t tar[4096];
	size_t length;

	build_tar(&whole);
	length = whole.length;
	memcpy(tar, whole.bytes, length);
	builder_gzip(&whole);
	expect_entries(&whole, "file f x text\n");

	/* Two members, as pigz and cat make them. */
	builder_add(&two, tar, 700);
	builder_gzip(&two);
	builder_add(&whole, tar + 700, length - 700);
	builder_gzip(&whole);
	builder_add(&two, whole.bytes, whole.length);
	builder_free(&whole);
	expect_entries(&two, "file f x text\n");

	build_tar(&cut);
	builder_gzip(&cut);
	cut.length -= 3;
	expect_refusal(&cut, EBADMSG, "archive_truncated");
	build_tar(&sum);
	builder_gzip(&sum);
	sum.bytes[sum.length - 6] ^= 1;
	expect_refusal(&sum, EBADMSG, "archive_corrupt");
	build_tar(&behind);
	builder_gzip(&behind);
	builder_add(&behind, "\0", 1);
	expect_refusal(&behind, EBADMSG, "archive_corrupt");
}

Test(archive, one_layer_of_compression_is_enough)
{
	struct builder twice = {0}, zip = {0}, text = {0}, nothing = {0};

	build_tar(&twice);
	builder_gzip(&twice);
	builder_gzip(&twice);
	expect_refusal(&twice, EBADMSG, "archive_unsupported");
	build_zip(&zip);
	builder_zip_end(&zip);
	builder_gzip(&zip);
	expect_refusal(&zip, EBADMSG, "archive_unsupported");
	builder_add(&text, "hello", 5);
	expect_refusal(&text, EBADMSG, "archive_unsupported");
	expect_refusal(&nothing, EBADMSG, "archive_empty");
}

Test(archive, xz_with_padding)
{
	struct builder tar = {0}, xz = {0}, odd = {0};
	size_t used = 0;

	build_tar(&tar);
	builder_add_zeros(&xz, 65536);
	cr_assert_eq(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC64, NULL, tar.bytes, tar.length,
					     xz.bytes, &used, xz.length),
		     LZMA_OK);
	builder_free(&tar);
	xz.length = used;
	builder_add_zeros(&xz, 8);
	builder_add(&odd, xz.bytes, xz.length - 1);
	expect_entries(&xz, "file f x text\n");
	expect_refusal(&odd, EBADMSG, "archive_corrupt");
}

Test(archive, limits_are_counted)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder many = {0}, large = {0}, big = {0};

	for (int i = 0; i < 1001; i++)
		builder_tar(&many, '5', "d", NULL, "", 0);
	builder_tar_end(&many);
	expect_refusal(&many, EFBIG, "too_many_entries");
	builder_tar_header(&large, '0', "f", NULL, 20 << 20);
	builder_add_zeros(&large, 20 << 20);
	builder_tar_end(&large);
	builder_gzip(&large);
	expect_refusal(&large, EFBIG, "inflated_too_large");
	build_tar(&big);
	decoding.limits.archive_bytes = 100;
	cr_assert_eq(decode(&decoding, &big), -EFBIG);
	cr_assert_str_eq(decoding.reason.code, "archive_too_large");
}
