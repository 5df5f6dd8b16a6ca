/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical archive: its golden bytes (made by Python's tarfile, not by this code), that any read of
 * it at any offset is a part of the same whole, and that the common tools read it.
 */
#include "engine/tarball.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES_MAX 16
#define GIB_8	    (UINT64_C(8) << 30)

static char names[ENTRIES_MAX][INDEX_PATH_MAX + 1];

static struct index_entry entry(enum index_kind kind, const char *path)
{
	return (struct index_entry){.path = path, .path_length = strlen(path), .kind = kind};
}

static struct index_entry file(const char *path, bool executable, uint64_t size)
{
	struct index_entry file = entry(INDEX_FILE, path);

	file.executable = executable;
	file.size = size;
	file.digest.bytes[0] = (uint8_t)strlen(path);
	return file;
}

static struct index_entry link_to(const char *path, const char *target)
{
	struct index_entry link = entry(INDEX_LINK, path);

	link.target = target;
	link.target_length = strlen(target);
	return link;
}

/* A text of one letter; `slot` is which buffer it lives in. */
static const char *many(size_t slot, char letter, size_t count)
{
	memset(names[slot], letter, count);
	names[slot][count] = '\0';
	return names[slot];
}

static struct tree *tree_of(const struct index_entry *entries, size_t count)
{
	struct tree *tree = NULL;
	char *text;
	size_t length;

	cr_assert_eq(index_emit(entries, count, &text, &length), 0);
	cr_assert_eq(tree_new(text, length, &tree, NULL), 0);
	return tree;
}

/* Names and targets on both sides of 100 bytes, sizes on both sides of a block. */
static struct tree *varied_tree(void)
{
	const char *top = many(0, 'D', 100);
	char *below = names[1];

	memset(below, 'x', 301);
	memcpy(below, top, 100);
	below[100] = '/';
	below[301] = '\0';
	return tree_of(
		(struct index_entry[]){
			entry(INDEX_DIR, ""),
			entry(INDEX_DIR, top),
			file(below, false, 513),
			entry(INDEX_DIR, "a"),
			file("a-b", true, 512),
			file("a/c", false, 1),
			entry(INDEX_DIR, many(3, 'd', 99)),
			file("empty", false, 0),
			link_to("l100", many(2, 't', 100)),
			link_to("l101", many(5, 't', 101)),
			link_to("l4095", many(6, 't', 4095)),
			file("m", false, 1000),
			file(many(7, 'p', 100), false, 100),
			file(many(8, 'q', 101), false, 0),
		},
		14);
}

/* What a content of that size holds: anything that shows where a byte comes from. */
static char content_byte(uint64_t size, uint64_t offset)
{
	return (char)((offset * 7 + size) & 255);
}

static size_t read_segment(const struct tarball *tarball, uint64_t offset, char *out, size_t room)
{
	char literal[TARBALL_HEADER_MAX];
	struct tarball_segment segment;
	size_t length;

	cr_assert_eq(tarball_segment(tarball, offset, literal, &segment), 0);
	cr_assert_gt(segment.length, 0);
	cr_assert_leq(segment.length, tarball_size(tarball) - offset);
	length = segment.length < room ? segment.length : room;
	if (segment.source == TARBALL_LITERAL) {
		cr_assert_leq(segment.length, TARBALL_HEADER_MAX);
		memcpy(out, literal, length);
		return length;
	}
	cr_assert_eq(segment.length, segment.size - segment.offset);
	for (size_t i = 0; i < length; i++)
		out[i] = content_byte(segment.size, segment.offset + i);
	return length;
}

static char *read_whole(const struct tarball *tarball, size_t chunk)
{
	size_t size = tarball_size(tarball), at = 0;
	char *bytes = malloc(size);

	cr_assert(bytes);
	while (at < size)
		at += read_segment(tarball, at, bytes + at, chunk < size - at ? chunk : size - at);
	return bytes;
}

static void expect_golden(const struct tarball *tarball, uint64_t size, const char *sha256)
{
	char *bytes = read_whole(tarball, SIZE_MAX), hex[DIGEST_HEX + 1];
	struct digest digest;

	cr_expect_eq(tarball_size(tarball), size);
	cr_assert_eq(digest_of(bytes, tarball_size(tarball), &digest), 0);
	cr_expect_str_eq(digest_hex(&digest, hex), sha256);
	free(bytes);
}

Test(tarball, golden_bytes)
{
	struct tree *tree = varied_tree();
	struct digest signature = {{1}};
	struct tarball *tarball;

	cr_assert_eq(tarball_new(tree, NULL, 0, &tarball), 0);
	expect_golden(tarball, 20480,
		      "43f17b6662a6395f43241b1e8108fb8b4115e0117300e14c36e1c774d4c84bdc");
	tarball_free(tarball);
	cr_assert_eq(tarball_new(tree, &signature, 77, &tarball), 0);
	expect_golden(tarball, 21504,
		      "754255fb74c9fffd94a402b968be204cb48a5db795708bfa5025bf076aa23896");
	tarball_free(tarball);
	tree_free(tree);
	tarball_free(NULL);
}

Test(tarball, an_empty_package_is_two_zero_blocks)
{
	struct tree *tree = tree_of((struct index_entry[]){entry(INDEX_DIR, "")}, 1);
	char zeros[1024] = {0}, *bytes;
	struct tarball *tarball;

	cr_assert_eq(tarball_new(tree, NULL, 0, &tarball), 0);
	cr_assert_eq(tarball_size(tarball), 1024);
	bytes = read_whole(tarball, SIZE_MAX);
	cr_expect_arr_eq(bytes, zeros, 1024);
	free(bytes);
	tarball_free(tarball);
	tree_free(tree);
}

Test(tarball, chunks_of_any_size_make_the_same_whole)
{
	static const size_t chunks[] = {1, 7, 511, 512, 513, 1000, 4096};
	struct tree *tree = varied_tree();
	struct digest signature = {{1}};
	struct tarball *tarball;
	char *whole, *bytes;

	cr_assert_eq(tarball_new(tree, &signature, 77, &tarball), 0);
	whole = read_whole(tarball, SIZE_MAX);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		bytes = read_whole(tarball, chunks[i]);
		cr_expect(memcmp(bytes, whole, tarball_size(tarball)) == 0, "chunks of %zu",
			  chunks[i]);
		free(bytes);
	}
	free(whole);
	tarball_free(tarball);
	tree_free(tree);
}

Test(tarball, every_offset_is_a_part_of_the_whole)
{
	char *part = malloc(TARBALL_HEADER_MAX), *whole;
	struct tree *tree = varied_tree();
	struct tarball_segment segment;
	struct tarball *tarball;

	cr_assert_eq(tarball_new(tree, NULL, 0, &tarball), 0);
	whole = read_whole(tarball, SIZE_MAX);
	for (uint64_t at = 0; at < tarball_size(tarball); at++) {
		size_t length = read_segment(tarball, at, part, TARBALL_HEADER_MAX);

		cr_assert(memcmp(part, whole + at, length) == 0, "offset %zu", (size_t)at);
	}
	cr_expect_eq(tarball_segment(tarball, tarball_size(tarball), part, &segment), -ERANGE);
	cr_expect_eq(tarball_segment(tarball, UINT64_MAX, part, &segment), -ERANGE);
	free(whole);
	free(part);
	tarball_free(tarball);
	tree_free(tree);
}

Test(tarball, a_content_names_its_node)
{
	struct tree *tree = varied_tree();
	struct digest signature = {{0xab}};
	struct tarball_segment segment;
	char literal[TARBALL_HEADER_MAX];
	struct tarball *tarball;
	unsigned contents = 0;

	cr_assert_eq(tarball_new(tree, &signature, 77, &tarball), 0);
	for (uint64_t at = 0; at < tarball_size(tarball); at += segment.length) {
		cr_assert_eq(tarball_segment(tarball, at, literal, &segment), 0);
		if (segment.source != TARBALL_CONTENT)
			continue;
		contents++;
		cr_expect_eq(segment.offset, 0);
		if (segment.node == UINT32_MAX) {
			cr_expect_eq(segment.size, 77);
			cr_expect(digest_equal(&segment.digest, &signature));
			continue;
		}
		cr_expect_eq(segment.size, tree_node(tree, segment.node)->size);
		cr_expect(digest_equal(&segment.digest, &tree_node(tree, segment.node)->digest));
	}
	cr_expect_eq(contents, 6); /* five files that are not empty, and the signature */
	tarball_free(tarball);
	tree_free(tree);
}

/* The longest path and the longest target at once; as a directory the path is a byte longer. */
Test(tarball, the_longest_names_fit)
{
	enum { DEPTH = 16 };
	struct index_entry entries[DEPTH + 2] = {entry(INDEX_DIR, "")};
	const char *target = many(0, (char)0xff, INDEX_PATH_MAX);

	for (enum index_kind last = INDEX_DIR; last <= INDEX_LINK; last++) {
		static char path[INDEX_PATH_MAX + 1];
		struct tree *tree;
		struct tarball *tarball;
		char *bytes;

		memset(path, 'n', INDEX_PATH_MAX);
		for (size_t i = 1; i <= DEPTH; i++) {
			size_t length = i * (INDEX_NAME_MAX + 1) - 1;

			entries[i] = (struct index_entry){.path = path, .path_length = length};
			if (i < DEPTH)
				path[length] = '/';
		}
		entries[DEPTH].kind = last;
		entries[DEPTH].target = last == INDEX_LINK ? target : NULL;
		entries[DEPTH].target_length = last == INDEX_LINK ? INDEX_PATH_MAX : 0;
		tree = tree_of(entries, DEPTH + 1);
		cr_assert_eq(tarball_new(tree, NULL, 0, &tarball), 0);
		bytes = read_whole(tarball, SIZE_MAX);
		cr_expect_eq(tarball_size(tarball) % 512, 0);
		free(bytes);
		tarball_free(tarball);
		tree_free(tree);
	}
}

/* The first literal run of a package of one entry, as a string search would see it. */
static bool first_run_has(const struct index_entry *only, const char *text)
{
	struct tree *tree = tree_of((struct index_entry[]){entry(INDEX_DIR, ""), *only}, 2);
	char literal[TARBALL_HEADER_MAX];
	struct tarball_segment segment;
	struct tarball *tarball;
	bool found;

	cr_assert_eq(tarball_new(tree, NULL, 0, &tarball), 0);
	cr_assert_eq(tarball_segment(tarball, 0, literal, &segment), 0);
	found = memmem(literal, segment.length, text, strlen(text)) != NULL;
	tarball_free(tarball);
	tree_free(tree);
	return found;
}

Test(tarball, only_values_that_are_no_utf8_are_called_binary)
{
	static const struct {
		const char *tail;
		bool is_binary;
	} cases[] = {
		{"", false},
		{"\xc2\x80", false},
		{"\xe0\xa0\x80", false},
		{"\xed\x9f\xbf\xee\x80\x80", false},
		{"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", false},
		{"\x80", true},
		{"\xc2", true},
		{"\xc1\xbf", true},
		{"\xe0\x9f\xbf", true},
		{"\xed\xa0\x80", true},
		{"\xf0\x8f\xbf\xbf", true},
		{"\xf4\x90\x80\x80", true},
		{"\xf8\x88\x80\x80\x80", true},
		{"\xe2\x82", true},
		{"\xff", true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[160] = {0};
		struct index_entry only;

		memset(path, 'a', 120);
		strcpy(path + 120, cases[i].tail);
		only = file(path, false, 0);
		cr_expect_eq(first_run_has(&only, "21 hdrcharset=BINARY\n"), cases[i].is_binary,
			     "case %zu", i);
		only = link_to("l", path);
		cr_expect_eq(first_run_has(&only, "21 hdrcharset=BINARY\n"), cases[i].is_binary,
			     "target of case %zu", i);
		only = file(path + 60, false, 0); /* short enough for ustar, whatever its bytes */
		cr_expect_not(first_run_has(&only, "hdrcharset"));
	}
}

Test(tarball, sizes_from_8_gib_are_a_pax_record)
{
	struct index_entry below = file("f", false, GIB_8 - 1), at = file("f", false, GIB_8);
	struct index_entry huge = file("f", false, INT64_MAX / 2);

	cr_expect(first_run_has(&below, "77777777777"));
	cr_expect_not(first_run_has(&below, "size="));
	cr_expect(first_run_has(&at, "19 size=8589934592\n"));
	cr_expect(first_run_has(&huge, " size=4611686018427387903\n"));
}

Test(tarball, sizes_that_are_no_offset_are_refused)
{
	static const struct {
		uint64_t first, second;
		int expected;
	} cases[] = {
		{UINT64_MAX, 0, -EFBIG},
		{INT64_MAX, 0, -EFBIG},
		{INT64_MAX / 2, INT64_MAX / 2, -EFBIG},
		{0, UINT64_MAX - 511, -EFBIG},
		{INT64_MAX / 2, INT64_MAX / 2 - 65536, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tree *tree =
			tree_of((struct index_entry[]){entry(INDEX_DIR, ""),
						       file("a", false, cases[i].first),
						       file("b", false, cases[i].second)},
				3);
		struct tarball *tarball = NULL;

		cr_expect_eq(tarball_new(tree, NULL, 0, &tarball), cases[i].expected, "case %zu", i);
		if (tarball)
			cr_expect_leq(tarball_size(tarball), INT64_MAX);
		tarball_free(tarball);
		tree_free(tree);
	}
}

/* ---- other programs ---- */

static char scratch[256];

static void make_scratch(void)
{
	const char *where = getenv("TMPDIR");

	snprintf(scratch, sizeof(scratch), "%s/aionfs-tarball-XXXXXX", where ? where : "/tmp");
	cr_assert(mkdtemp(scratch), "mkdtemp: %s", strerror(errno));
}

static void remove_scratch(void)
{
	char command[400];

	snprintf(command, sizeof(command), "rm -rf '%s'", scratch);
	cr_expect_eq(system(command), 0);
}

static bool have(const char *program)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", program);
	return system(command) == 0;
}

/* Writes the archive; contents are left out as holes, or made. Returns false when it is refused. */
static bool write_archive(const struct tarball *tarball, bool with_contents)
{
	char path[300], literal[TARBALL_HEADER_MAX], byte;
	struct tarball_segment segment;
	int fd;

	snprintf(path, sizeof(path), "%s/a.tar", scratch);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert(fd >= 0);
	if (ftruncate(fd, (off_t)tarball_size(tarball)) != 0) {
		close(fd);
		return false;
	}
	for (uint64_t at = 0; at < tarball_size(tarball); at += segment.length) {
		cr_assert_eq(tarball_segment(tarball, at, literal, &segment), 0);
		if (segment.source == TARBALL_LITERAL)
			cr_assert_eq(pwrite(fd, literal, segment.length, (off_t)at),
				     (ssize_t)segment.length);
		for (uint64_t i = 0;
		     with_contents && segment.source == TARBALL_CONTENT && i < segment.length; i++) {
			byte = content_byte(segment.size, i);
			cr_assert_eq(pwrite(fd, &byte, 1, (off_t)(at + i)), 1);
		}
	}
	close(fd);
	return true;
}

/* Runs a program over the archive; what it prints must be `expected`. */
static void expect_output(const char *program, const char *expected)
{
	static char output[64 * 1024];
	char command[600];
	size_t length;
	FILE *pipe;

	snprintf(command, sizeof(command), "cd '%s' && LC_ALL=C %s", scratch, program);
	pipe = popen(command, "r");
	cr_assert(pipe);
	length = fread(output, 1, sizeof(output) - 1, pipe);
	output[length] = '\0';
	cr_expect_eq(pclose(pipe), 0, "%s failed", program);
	cr_expect_str_eq(output, expected, "%s", program);
}

static void expect_readable(const char *program, const char *command)
{
	static char expected[64 * 1024], path[INDEX_PATH_MAX + 1];
	struct tree *tree = varied_tree();
	struct digest signature = {{1}};
	struct tarball *tarball;
	size_t used = 0;

	if (!have(program))
		cr_skip_test("%s is not installed", program);
	make_scratch();
	cr_assert_eq(tarball_new(tree, &signature, 77, &tarball), 0);
	cr_assert(write_archive(tarball, true));
	for (uint32_t i = 1; i < tree_count(tree); i++) {
		tree_path(tree, i, path, sizeof(path));
		used += (size_t)snprintf(expected + used, sizeof(expected) - used, "%s%s\n", path,
					 tree_node(tree, i)->kind == INDEX_DIR ? "/" : "");
	}
	snprintf(expected + used, sizeof(expected) - used, "manifest.sig\n");
	expect_output(command, expected);
	remove_scratch();
	tarball_free(tarball);
	tree_free(tree);
}

Test(tarball, tar_lists_it, .timeout = 120)
{
	expect_readable("tar", "tar -tf a.tar");
}

Test(tarball, bsdtar_lists_it, .timeout = 120)
{
	expect_readable("bsdtar", "bsdtar -tf a.tar");
}

Test(tarball, python_lists_it, .timeout = 120)
{
	expect_readable("python3", "python3 -c 'import tarfile\n"
				   "for m in tarfile.open(\"a.tar\"):\n"
				   "    print(m.name + \"/\" * m.isdir())'");
}

/* Sparse on disk: nobody has to read the 8 GiB, since each of them can seek. */
static void expect_huge_sizes(const char *program, const char *command)
{
	struct tree *tree = tree_of((struct index_entry[]){entry(INDEX_DIR, ""),
							   file("a", false, GIB_8),
							   file("b", false, 3)},
				    3);
	struct tarball *tarball;
	bool is_written;

	if (!have(program))
		cr_skip_test("%s is not installed", program);
	make_scratch();
	cr_assert_eq(tarball_new(tree, NULL, 0, &tarball), 0);
	is_written = write_archive(tarball, false);
	if (is_written)
		expect_output(command, "8589934592 a\n3 b\n");
	remove_scratch();
	tarball_free(tarball);
	tree_free(tree);
	if (!is_written)
		cr_skip_test("the filesystem of temporary files takes no sparse file of 8 GiB");
}

Test(tarball, tar_reads_sizes_from_8_gib, .timeout = 300)
{
	expect_huge_sizes("tar", "tar -tvf a.tar | awk '{ print $3, $6 }'");
}

Test(tarball, bsdtar_reads_sizes_from_8_gib, .timeout = 300)
{
	expect_huge_sizes("bsdtar", "bsdtar -tvf a.tar | awk '{ print $5, $9 }'");
}

Test(tarball, python_reads_sizes_from_8_gib, .timeout = 300)
{
	expect_huge_sizes("python3", "python3 -c 'import tarfile\n"
				     "for m in tarfile.open(\"a.tar\"): print(m.size, m.name)'");
}
