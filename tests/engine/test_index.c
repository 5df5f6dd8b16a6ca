/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical index: its exact bytes, its golden version (computed by Python's hashlib over the
 * literal text, not by this code), and that the reader refuses every second spelling.
 */
#include "engine/index.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EMPTY_HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ROOT      "#mtree\n. type=dir mode=0755\n"

static struct digest digest_from(const char *hex)
{
	struct digest digest;

	cr_assert_eq(digest_parse(hex, strlen(hex), &digest), 0);
	return digest;
}

static struct index_entry directory(const char *path)
{
	return (struct index_entry){.path = path, .path_length = strlen(path), .kind = INDEX_DIR};
}

static struct index_entry file(const char *path, bool executable, uint64_t size, const char *hex)
{
	return (struct index_entry){.path = path,
				    .path_length = strlen(path),
				    .kind = INDEX_FILE,
				    .executable = executable,
				    .size = size,
				    .digest = digest_from(hex)};
}

static struct index_entry link_to(const char *path, const char *target)
{
	return (struct index_entry){.path = path,
				    .path_length = strlen(path),
				    .kind = INDEX_LINK,
				    .target = target,
				    .target_length = strlen(target)};
}

/* Emits, and compares with the literal text; NUL-free, so strings will do. */
static void expect_text(const struct index_entry *entries, size_t count, const char *expected)
{
	char *text;
	size_t length;

	cr_assert_eq(index_emit(entries, count, &text, &length), 0);
	cr_assert_eq(length, strlen(expected));
	cr_assert_arr_eq(text, expected, length);
	free(text);
}

/* Reads to the end or to the first error, from memory that ends exactly with the text. */
static int read_all(const char *bytes, size_t length, size_t *ret_count, struct reason *reason)
{
	char *text = malloc(length > 0 ? length : 1);
	struct index_reader reader;
	struct index_entry entry;
	int result;

	cr_assert(text);
	memcpy(text, bytes, length);
	*ret_count = 0;
	result = index_reader_open(&reader, text, length, reason);
	if (result == 0) {
		while ((result = index_reader_next(&reader, &entry, reason)) == 1)
			(*ret_count)++;
	}
	free(text);
	return result;
}

static void expect_accepted(const char *text, size_t entries)
{
	struct reason reason = {0};
	size_t count;

	cr_expect_eq(read_all(text, strlen(text), &count, &reason), 0, "refused (%s): %s",
		     reason.message, text);
	cr_expect_eq(count, entries, "%zu entries in: %s", count, text);
}

static void expect_refused(const char *text)
{
	struct reason reason = {0};
	size_t count;

	cr_expect_eq(read_all(text, strlen(text), &count, &reason), -EBADMSG, "accepted: %s", text);
	cr_expect_str_eq(reason.code, "index_damaged");
}

Test(index, writes_the_text_of_the_contract)
{
	struct index_entry entries[] = {
		directory(""),
		directory("bin"),
		file("bin/run", true, 812, EMPTY_HEX),
		link_to("current", "lib/v2"),
	};

	expect_text(entries, 4,
		    ROOT "./bin type=dir mode=0755\n"
			 "./bin/run type=file mode=0755 size=812 sha256=" EMPTY_HEX "\n"
			 "./current type=link mode=0777 link=lib/v2\n");
}

Test(index, golden_version)
{
	struct index_entry entries[] = {
		directory(""),
		directory("bin"),
		file("bin/run", true, 18,
		     "b4d644d4279594903f1a9911956432d9473041f2984fc6014c14d7402c7d126c"),
		directory("empty"),
		link_to("latest", "bin/run"),
		file("manifest.json", false, 25,
		     "0e2bcd9b57be090860105dc2eb1a74b3fb53e183ab8f2945a260fb5497e0787f"),
		file("na\xc3\xafve file", false, 0, EMPTY_HEX),
	};
	struct digest version;
	char *text, hex[DIGEST_HEX + 1];
	size_t length;

	cr_assert_eq(index_emit(entries, sizeof(entries) / sizeof(entries[0]), &text, &length), 0);
	cr_assert_eq(digest_of(text, length, &version), 0);
	cr_expect_str_eq(digest_hex(&version, hex),
			 "72d546829f1dc45427240326567140f723238aac9cdea6dfcdec834929d79e34");
	free(text);
}

Test(index, escapes_exactly_what_the_contract_names)
{
	for (int byte = 1; byte < 256; byte++) {
		char name[2] = {(char)byte, '\0'}, expected[256], written[8];
		struct index_entry entries[] = {directory(""), directory(name)};

		if (byte == '/' || byte == '.')
			continue;
		if (byte <= ' ' || byte >= 0x7f || strchr("#\\=*?[", byte))
			snprintf(written, sizeof(written), "\\%03o", (unsigned)byte);
		else
			snprintf(written, sizeof(written), "%c", byte);
		snprintf(expected, sizeof(expected), ROOT "./%s type=dir mode=0755\n", written);
		expect_text(entries, 2, expected);
		expect_accepted(expected, 2);
	}
}

Test(index, writes_the_largest_size)
{
	struct index_entry entries[] = {directory(""), file("f", false, UINT64_MAX, EMPTY_HEX)};

	expect_text(entries, 2,
		    ROOT "./f type=file mode=0644 size=18446744073709551615 sha256=" EMPTY_HEX
			 "\n");
}

Test(index, escaping_the_longest_names_stays_within_the_buffer)
{
	static char path[INDEX_PATH_MAX + 1], target[INDEX_PATH_MAX + 1];
	struct index_entry entries[2] = {directory("")};
	struct index_reader reader;
	struct index_entry entry;
	char *text;
	size_t length;

	memset(path, 1, INDEX_PATH_MAX);
	for (size_t i = INDEX_NAME_MAX; i < INDEX_PATH_MAX; i += INDEX_NAME_MAX + 1)
		path[i] = '/';
	memset(target, 0xff, INDEX_PATH_MAX);
	entries[1] = link_to(path, target);
	cr_assert_eq(index_emit(entries, 2, &text, &length), 0);
	cr_assert_eq(index_reader_open(&reader, text, length, NULL), 0);
	cr_assert_eq(index_reader_next(&reader, &entry, NULL), 1);
	cr_assert_eq(index_reader_next(&reader, &entry, NULL), 1);
	cr_expect_eq(entry.path_length, INDEX_PATH_MAX);
	cr_expect_arr_eq(entry.path, path, INDEX_PATH_MAX);
	cr_expect_eq(entry.target_length, INDEX_PATH_MAX);
	cr_expect_arr_eq(entry.target, target, INDEX_PATH_MAX);
	cr_expect_eq(index_reader_next(&reader, &entry, NULL), 0);
	free(text);
}

Test(index, reads_back_what_it_wrote)
{
	char text[] = ROOT "./a\\040b type=file mode=0755 size=0 sha256=" EMPTY_HEX "\n"
			   "./l type=link mode=0777 link=a\\040b\n";
	struct index_reader reader;
	struct index_entry entry;

	cr_assert_eq(index_reader_open(&reader, text, strlen(text), NULL), 0);
	cr_assert_eq(index_reader_next(&reader, &entry, NULL), 1);
	cr_expect_eq(entry.kind, INDEX_DIR);
	cr_expect_eq(entry.path_length, 0);
	cr_assert_eq(index_reader_next(&reader, &entry, NULL), 1);
	cr_expect_eq(entry.kind, INDEX_FILE);
	cr_expect(entry.executable);
	cr_expect_eq(entry.size, 0);
	cr_expect_eq(entry.path_length, 3);
	cr_expect_arr_eq(entry.path, "a b", 3);
	cr_assert_eq(index_reader_next(&reader, &entry, NULL), 1);
	cr_expect_eq(entry.kind, INDEX_LINK);
	cr_expect_eq(entry.target_length, 3);
	cr_expect_arr_eq(entry.target, "a b", 3);
	cr_expect_eq(index_reader_next(&reader, &entry, NULL), 0);
}

Test(index, raw_bytes_decide_the_order_not_their_escapes)
{
	/* "a-b" < "a/c" < "a0"; and byte 0x1f sorts before '!', although '\' sorts after it. */
	expect_accepted(ROOT "./\\037 type=dir mode=0755\n"
			     "./! type=dir mode=0755\n"
			     "./a type=dir mode=0755\n"
			     "./a-b type=dir mode=0755\n"
			     "./a/c type=dir mode=0755\n"
			     "./a0 type=dir mode=0755\n"
			     "./\\377 type=dir mode=0755\n",
			8);
	expect_refused(ROOT "./! type=dir mode=0755\n./\\037 type=dir mode=0755\n");
	expect_refused(ROOT "./\\377 type=dir mode=0755\n./a type=dir mode=0755\n");
	expect_refused(ROOT "./a0 type=dir mode=0755\n./a-b type=dir mode=0755\n");
}

Test(index, refuses_another_frame)
{
	static const char *const texts[] = {
		"",
		"#mtree",
		"#mtree\n",
		"#mtree \n. type=dir mode=0755\n",
		"#MTREE\n. type=dir mode=0755\n",
		"#mtree\r\n. type=dir mode=0755\r\n",
		"\xef\xbb\xbf#mtree\n. type=dir mode=0755\n",
		"#mtree\n\n. type=dir mode=0755\n",
		"#mtree v2.0\n. type=dir mode=0755\n",
		"#mtree\n. type=dir mode=0755",
		"#mtree\n./ type=dir mode=0755\n",
		"#mtree\n.. type=dir mode=0755\n",
		"#mtree\n./a type=dir mode=0755\n",
		"#mtree\n. type=link mode=0777 link=a\n",
		"#mtree\n. type=file mode=0644 size=0 sha256=" EMPTY_HEX "\n",
		ROOT "\n",
		ROOT " ",
		ROOT "# a comment\n",
		ROOT ROOT,
		ROOT ". type=dir mode=0755\n",
		ROOT "/set type=file\n",
		ROOT "./a type=dir mode=0755",
		ROOT "./a type=dir mode=0755\n\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		expect_refused(texts[i]);
	expect_accepted(ROOT, 1);
}

Test(index, refuses_a_nul_byte)
{
	static const char in_name[] = ROOT "./a\0b type=dir mode=0755\n";
	static const char behind[] = ROOT "\0";
	size_t count;

	cr_expect_eq(read_all(in_name, sizeof(in_name) - 1, &count, NULL), -EBADMSG);
	cr_expect_eq(read_all(behind, sizeof(behind) - 1, &count, NULL), -EBADMSG);
	expect_refused(ROOT "./a\\000b type=dir mode=0755\n");
	expect_refused(ROOT "./l type=link mode=0777 link=a\\000\n");
}

Test(index, refuses_paths_that_are_not_normal)
{
	static const char *const paths[] = {
		"",      "a",        "/a",     "./",      ".//a",   "./a/",   "./a//b", "./.",
		"./..",  "././a",    "./a/.",  "./a/..",  "./../a", "./a/./b", "./a/../b", "../a",
		"./a\\", "./a\\40",  "./a\\04", "./a\\0400", "./a\\400", "./a\\777", "./a\\8",
		"./a\\x41", "./\\141", "./\\057", "./a\\057b", "./a*b", "./a?b",  "./a[b", "./a#b",
		"./a=b", "./a\tb",   "./a\x7f", "./a\xc3\xaf", "./\\056\\056", "./\\056",
	};
	char text[256];

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		/* "./a\0400" is the name "a 0", and canonical: the one that must pass. */
		snprintf(text, sizeof(text), ROOT "%s type=dir mode=0755\n", paths[i]);
		if (strcmp(paths[i], "./a\\0400") == 0)
			expect_accepted(text, 2);
		else
			expect_refused(text);
	}
	expect_accepted(ROOT "./... type=dir mode=0755\n", 2);
	expect_accepted(ROOT "./..a type=dir mode=0755\n", 2);
	expect_accepted(ROOT "./.a type=dir mode=0755\n", 2);
	expect_accepted(ROOT "./a. type=dir mode=0755\n", 2);
}

Test(index, refuses_names_and_paths_that_are_too_long)
{
	static char text[3 * INDEX_PATH_MAX];
	static char path[INDEX_PATH_MAX + 2];

	memset(path, 'n', INDEX_NAME_MAX + 1);
	snprintf(text, sizeof(text), ROOT "./%s type=dir mode=0755\n", path);
	expect_refused(text);
	path[INDEX_NAME_MAX] = '\0';
	snprintf(text, sizeof(text), ROOT "./%s type=dir mode=0755\n", path);
	expect_accepted(text, 2);

	memset(path, 'n', INDEX_PATH_MAX + 1);
	for (size_t i = INDEX_NAME_MAX; i < INDEX_PATH_MAX; i += INDEX_NAME_MAX + 1)
		path[i] = '/';
	snprintf(text, sizeof(text), ROOT "./%.4095s type=dir mode=0755\n", path);
	expect_accepted(text, 2);
	/* One byte longer, its last component cut in two: only the path is too long. */
	path[INDEX_PATH_MAX - 2] = '/';
	snprintf(text, sizeof(text), ROOT "./%s type=dir mode=0755\n", path);
	expect_refused(text);

	memset(path, 't', INDEX_PATH_MAX + 1);
	snprintf(text, sizeof(text), ROOT "./l type=link mode=0777 link=%s\n", path);
	expect_refused(text);
	path[INDEX_PATH_MAX] = '\0';
	snprintf(text, sizeof(text), ROOT "./l type=link mode=0777 link=%s\n", path);
	expect_accepted(text, 2);
}

Test(index, refuses_attributes_in_another_spelling)
{
	static const char *const attributes[] = {
		"",
		" ",
		" type=dir",
		" mode=0755 type=dir",
		" type=dir mode=755",
		" type=dir mode=0700",
		" type=dir mode=0755 ",
		" type=dir mode=0755\r",
		"  type=dir mode=0755",
		" type=dir  mode=0755",
		" type=dir mode=0755 uid=0",
		" type=dir mode=0755 \\",
		" type=fifo mode=0644",
		" type=file mode=0644",
		" type=file mode=0600 size=0 sha256=" EMPTY_HEX,
		" type=file mode=04755 size=0 sha256=" EMPTY_HEX,
		" type=file mode=0644 size= sha256=" EMPTY_HEX,
		" type=file mode=0644 size=00 sha256=" EMPTY_HEX,
		" type=file mode=0644 size=01 sha256=" EMPTY_HEX,
		" type=file mode=0644 size=-1 sha256=" EMPTY_HEX,
		" type=file mode=0644 size=+1 sha256=" EMPTY_HEX,
		" type=file mode=0644 size=0x1 sha256=" EMPTY_HEX,
		" type=file mode=0644 size=18446744073709551616 sha256=" EMPTY_HEX,
		" type=file mode=0644 size=99999999999999999999 sha256=" EMPTY_HEX,
		" type=file mode=0644 size=0 sha256=" EMPTY_HEX "0",
		" type=file mode=0644 size=0 sha256=E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b"
		"934ca495991b7852b855",
		" type=file mode=0644 size=0 sha256=e3b0",
		" type=file mode=0644 sha256=" EMPTY_HEX " size=0",
		" type=file mode=0644 size=0 sha256digest=" EMPTY_HEX,
		" type=link mode=0777",
		" type=link mode=0777 link=",
		" type=link mode=0755 link=a",
		" type=link mode=0777 link=a b",
		" type=link mode=0777 link=a\\141",
	};
	char text[512];

	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
		snprintf(text, sizeof(text), ROOT "./a%s\n", attributes[i]);
		expect_refused(text);
	}
}

Test(index, refuses_duplicates)
{
	expect_refused(ROOT "./a type=dir mode=0755\n./a type=dir mode=0755\n");
	expect_refused(ROOT "./a type=dir mode=0755\n./a type=link mode=0777 link=b\n");
}

Test(index, refuses_every_cut)
{
	static const char whole[] = ROOT "./bin type=dir mode=0755\n"
					 "./bin/run type=file mode=0755 size=8 sha256="
					 EMPTY_HEX "\n"
					 "./l\\040 type=link mode=0777 link=bin/run\n";
	size_t count;

	for (size_t length = 0; length < sizeof(whole) - 1; length++) {
		/* A cut behind the line of an entry is an index of fewer entries. */
		int expected = length > 7 && whole[length - 1] == '\n' ? 0 : -EBADMSG;

		cr_expect_eq(read_all(whole, length, &count, NULL), expected, "cut at %zu", length);
	}
}

Test(index, the_reason_names_the_line)
{
	struct reason reason = {0};
	size_t count;
	static const char text[] = ROOT "./a type=dir mode=0755\n./b type=dir mode=0700\n";

	cr_expect_eq(read_all(text, sizeof(text) - 1, &count, &reason), -EBADMSG);
	cr_expect_eq(reason.error, EBADMSG);
	cr_expect(strstr(reason.message, "line 4"), "%s", reason.message);
}
