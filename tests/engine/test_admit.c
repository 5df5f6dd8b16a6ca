/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission's judgement of names, duplicates, parents, the manifest and the signature. Links have a
 * file of their own, test_admit_links.c.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "tests/engine/packing.h"

/* ---- what is accepted ---- */

Test(admit, the_least_package)
{
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_manifest(&packing, "manifest.json");
	admitted = accepted(&packing);
	expect_paths(&admitted, "manifest.json");
	cr_expect_str_eq(admitted.manifest.type, "order");
	cr_expect_eq(admitted.entries, 1);
	cr_expect_eq(admitted.bytes, strlen(MANIFEST));
	cr_expect_not(admitted.has_executable);
	cr_expect_null(admitted.signature);
	admitted_free(&admitted);
}

/* The tree of test_index.c's golden version, in another order and with every harmless spelling. */
Test(admit, golden_version)
{
	struct packing packing = packing_begin();
	struct admitted admitted;
	char hex[DIGEST_HEX + 1];

	add_file(&packing, "./na\xc3\xafve file", "");
	add_link(&packing, ".//latest", "bin/run");
	add_executable(&packing, "bin/./run", "#!/bin/sh\necho ok\n");
	add_directory(&packing, ".");
	add_directory(&packing, "./");
	add_directory(&packing, "empty///");
	add_file(&packing, "././manifest.json", "{\"entry_module\":\"golden\"}");
	admitted = accepted(&packing);
	cr_expect_str_eq(digest_hex(&admitted.version, hex),
			 "72d546829f1dc45427240326567140f723238aac9cdea6dfcdec834929d79e34");
	cr_expect_eq(admitted.entries, 6);
	cr_expect_eq(admitted.bytes, 18 + 25);
	admitted_free(&admitted);
}

Test(admit, parents_are_implied_and_directories_may_repeat)
{
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_file(&packing, "a/b/c/d", "1");
	add_directory(&packing, "a/b");
	add_directory(&packing, "./a/b/");
	add_directory(&packing, "a");
	add_file(&packing, "a-b", "2");
	add_manifest(&packing, "manifest.json");
	admitted = accepted(&packing);
	expect_paths(&admitted, "a a-b a/b a/b/c a/b/c/d manifest.json");
	admitted_free(&admitted);
}

Test(admit, odd_but_honest_names)
{
	static const char *const names[] = {"...", "..a", "a..", " ", "-", "a\nb", "\xff\xfe", "\\",
					    "C:", "con", "~", "*"};
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_manifest(&packing, "manifest.json");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		add_file(&packing, names[i], "x");
	admitted = accepted(&packing);
	cr_expect_eq(admitted.entries, 1 + sizeof(names) / sizeof(names[0]));
	admitted_free(&admitted);
}

/* ---- stripping ---- */

Test(admit, one_top_directory_is_stripped)
{
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_directory(&packing, "order-1.4");
	add_executable(&packing, "order-1.4/bin/run", "#!/bin/sh\n");
	add_manifest(&packing, "./order-1.4/manifest.json");
	admitted = accepted(&packing);
	expect_paths(&admitted, "bin bin/run manifest.json");
	cr_expect(admitted.has_executable);
	admitted_free(&admitted);
}

Test(admit, a_manifest_at_the_root_wins)
{
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_file(&packing, "top/manifest.json", "not even JSON");
	add_manifest(&packing, "manifest.json");
	admitted = accepted(&packing);
	expect_paths(&admitted, "manifest.json top top/manifest.json");
	admitted_free(&admitted);
}

Test(admit, only_one_level_is_stripped)
{
	struct packing packing = packing_begin();

	add_manifest(&packing, "a/b/manifest.json");
	refused(&packing, EINVAL, "manifest_missing", NULL);
}

Test(admit, two_top_directories_are_not_stripped)
{
	struct packing packing = packing_begin();

	add_manifest(&packing, "a/manifest.json");
	add_file(&packing, "b/x", "x");
	refused(&packing, EINVAL, "manifest_missing", NULL);
}

Test(admit, a_file_beside_the_top_directory_prevents_stripping)
{
	struct packing packing = packing_begin();

	add_manifest(&packing, "a/manifest.json");
	add_file(&packing, "README", "x");
	refused(&packing, EINVAL, "manifest_missing", NULL);
}

Test(admit, a_top_directory_with_the_same_beginning_is_another)
{
	struct packing packing = packing_begin();

	add_manifest(&packing, "a/manifest.json");
	add_file(&packing, "ab/x", "x");
	refused(&packing, EINVAL, "manifest_missing", NULL);
}

Test(admit, stripping_makes_no_duplicates_and_no_conflicts)
{
	struct packing packing = packing_begin();

	add_manifest(&packing, "a/manifest.json");
	add_file(&packing, "a", "x");
	refused(&packing, EINVAL, "entry_unsafe", "a");
}

/* ---- the manifest ---- */

Test(admit, no_manifest)
{
	struct packing packing = packing_begin();

	refused(&packing, EINVAL, "manifest_missing", NULL);
	packing = packing_begin();
	add_file(&packing, "Manifest.json", MANIFEST);
	refused(&packing, EINVAL, "manifest_missing", NULL);
}

Test(admit, a_manifest_that_is_no_file)
{
	struct packing packing = packing_begin();

	add_link(&packing, "manifest.json", "real.json");
	add_manifest(&packing, "real.json");
	refused(&packing, EINVAL, "manifest_invalid", NULL);
	packing = packing_begin();
	add_directory(&packing, "manifest.json");
	refused(&packing, EINVAL, "manifest_invalid", NULL);
	packing = packing_begin();
	add_file(&packing, "manifest.json/manifest.json", MANIFEST);
	add_file(&packing, "x", "x");
	refused(&packing, EINVAL, "manifest_invalid", NULL);
}

Test(admit, a_bad_manifest)
{
	struct packing packing = packing_begin();

	add_file(&packing, "manifest.json", "{}");
	refused(&packing, EINVAL, "manifest_invalid", NULL);
	packing = packing_begin();
	add_file(&packing, "manifest.json", "");
	refused(&packing, EINVAL, "manifest_invalid", NULL);
}

/* A manifest of `length` bytes, padded with spaces and handed over in pieces. */
static void add_padded_manifest(struct packing *packing, size_t length)
{
	static const char spaces[4096] = "";
	struct digest_stream stream = {0};
	struct digest digest;
	size_t sent = strlen(MANIFEST);

	cr_assert_eq(digest_open(&stream), 0);
	begin(packing, ADMIT_FILE, "manifest.json", 13, "", 0, false);
	digest_add(&stream, MANIFEST, sent);
	admit_data(packing->admit, MANIFEST, sent, NULL);
	while (sent < length) {
		size_t part = length - sent < sizeof(spaces) ? length - sent : sizeof(spaces);
		char piece[sizeof(spaces)];

		memset(piece, ' ', part);
		digest_add(&stream, piece, part);
		cr_assert_eq(admit_data(packing->admit, piece, part, NULL), 0);
		sent += part;
	}
	cr_assert_eq(digest_finish(&stream, &digest), 0);
	cr_assert_eq(admit_body(packing->admit, &digest, length, NULL), 0);
	digest_close(&stream);
}

Test(admit, the_largest_manifest)
{
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_padded_manifest(&packing, MANIFEST_BYTES_MAX);
	admitted = accepted(&packing);
	admitted_free(&admitted);
	packing = packing_begin();
	add_padded_manifest(&packing, MANIFEST_BYTES_MAX + 1);
	refused(&packing, EINVAL, "manifest_invalid", NULL);
}

/* ---- the signature ---- */

Test(admit, the_signature_is_kept_apart)
{
	struct packing packing = packing_begin();
	struct admitted admitted, unsigned_one;

	add_manifest(&packing, "manifest.json");
	unsigned_one = accepted(&packing);
	packing = packing_begin();
	add_file(&packing, "top/manifest.sig", "signed\n");
	add_manifest(&packing, "top/manifest.json");
	admitted = accepted(&packing);
	expect_paths(&admitted, "manifest.json");
	cr_assert_eq(admitted.signature_length, 7);
	cr_expect_arr_eq(admitted.signature, "signed\n", 7);
	cr_expect(digest_equal(&admitted.version, &unsigned_one.version));
	cr_expect_eq(admitted.entries, 1);
	cr_expect_eq(admitted.bytes, strlen(MANIFEST));
	admitted_free(&admitted);
	admitted_free(&unsigned_one);
}

Test(admit, an_empty_signature_is_one)
{
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_manifest(&packing, "manifest.json");
	add_file(&packing, "manifest.sig", "");
	admitted = accepted(&packing);
	cr_expect_not_null(admitted.signature);
	cr_expect_eq(admitted.signature_length, 0);
	admitted_free(&admitted);
}

Test(admit, only_the_root_signature_is_reserved)
{
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_manifest(&packing, "manifest.json");
	add_file(&packing, "sub/manifest.sig", "x");
	admitted = accepted(&packing);
	expect_paths(&admitted, "manifest.json sub sub/manifest.sig");
	cr_expect_null(admitted.signature);
	admitted_free(&admitted);
}

Test(admit, a_signature_that_is_none)
{
	static char large[SIGNATURE_BYTES_MAX + 2];
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_manifest(&packing, "manifest.json");
	add_directory(&packing, "manifest.sig");
	refused(&packing, EINVAL, "manifest_invalid", NULL);
	packing = packing_begin();
	add_manifest(&packing, "manifest.json");
	add_link(&packing, "manifest.sig", "manifest.json");
	refused(&packing, EINVAL, "manifest_invalid", NULL);
	memset(large, 's', sizeof(large) - 1);
	packing = packing_begin();
	add_manifest(&packing, "manifest.json");
	add_file(&packing, "manifest.sig", large);
	refused(&packing, EINVAL, "manifest_invalid", NULL);
	large[SIGNATURE_BYTES_MAX] = '\0';
	packing = packing_begin();
	add_manifest(&packing, "manifest.json");
	add_file(&packing, "manifest.sig", large);
	admitted = accepted(&packing);
	cr_expect_eq(admitted.signature_length, SIGNATURE_BYTES_MAX);
	admitted_free(&admitted);
}

/* ---- names ---- */

static void refused_name(const char *path, size_t length, const char *code)
{
	static const enum admit_kind kinds[] = {ADMIT_FILE, ADMIT_DIR, ADMIT_SYMLINK,
						ADMIT_HARDLINK};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct packing packing = packing_begin();

		add_manifest(&packing, "manifest.json");
		begin(&packing, kinds[i], path, length, "manifest.json", 13, false);
		refused(&packing, EINVAL, code, NULL);
	}
}

Test(admit, names_that_lead_out)
{
	static const char *const paths[] = {"/", "/a", "//a", "/etc/passwd", "..", "../a", "a/..",
					    "a/../b", "./..", "./../a", "a/b/../../../c", "a/../",
					    "/..", "..//a"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		refused_name(paths[i], strlen(paths[i]), "entry_unsafe");
}

Test(admit, names_with_a_nul_byte)
{
	refused_name("a\0b", 3, "name_invalid");
	refused_name("\0", 1, "name_invalid");
	refused_name("a\0", 2, "name_invalid");
}

Test(admit, names_that_are_too_long)
{
	static char path[INDEX_PATH_MAX + 2];
	struct packing packing = packing_begin();
	struct admitted admitted;

	memset(path, 'n', sizeof(path) - 1);
	refused_name(path, INDEX_NAME_MAX + 1, "name_invalid");
	for (size_t i = INDEX_NAME_MAX; i < INDEX_PATH_MAX; i += INDEX_NAME_MAX + 1)
		path[i] = '/';
	add_manifest(&packing, "manifest.json");
	begin(&packing, ADMIT_DIR, path, INDEX_PATH_MAX, "", 0, false);
	add_file(&packing, "x", "x");
	admitted = accepted(&packing);
	cr_expect_eq(admitted.entries, 2 + 16);
	admitted_free(&admitted);
	path[INDEX_PATH_MAX - 2] = '/';
	refused_name(path, INDEX_PATH_MAX + 1, "name_invalid");
}

Test(admit, a_file_with_a_directorys_name)
{
	static const char *const paths[] = {"a/", "a//", "a/.", "a/./", ".", "./", "./."};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct packing packing = packing_begin();

		add_manifest(&packing, "manifest.json");
		add_file(&packing, paths[i], "x");
		refused(&packing, EINVAL, "entry_unsafe", paths[i]);
		packing = packing_begin();
		add_manifest(&packing, "manifest.json");
		add_link(&packing, paths[i], "manifest.json");
		refused(&packing, EINVAL, "entry_unsafe", paths[i]);
	}
}

/* ---- duplicates and conflicts ---- */

/* Two entries, in both orders. */
static void refused_pair(enum admit_kind one, const char *one_path, enum admit_kind other,
			 const char *other_path, const char *code)
{
	for (int turn = 0; turn < 2; turn++) {
		struct packing packing = packing_begin();

		add_manifest(&packing, "manifest.json");
		add(&packing, turn ? other : one, turn ? other_path : one_path);
		add(&packing, turn ? one : other, turn ? one_path : other_path);
		refused(&packing, EINVAL, code, NULL);
	}
}

Test(admit, duplicates)
{
	refused_pair(ADMIT_FILE, "a", ADMIT_FILE, "a", "entry_duplicate");
	refused_pair(ADMIT_FILE, "a", ADMIT_FILE, "./a", "entry_duplicate");
	refused_pair(ADMIT_FILE, "b/a", ADMIT_FILE, "b//a", "entry_duplicate");
	refused_pair(ADMIT_FILE, "a", ADMIT_DIR, "a/", "entry_duplicate");
	refused_pair(ADMIT_FILE, "a", ADMIT_SYMLINK, "a", "entry_duplicate");
	refused_pair(ADMIT_FILE, "a", ADMIT_HARDLINK, "a", "entry_duplicate");
	refused_pair(ADMIT_DIR, "a", ADMIT_SYMLINK, "a", "entry_duplicate");
	refused_pair(ADMIT_DIR, "a", ADMIT_HARDLINK, "a", "entry_duplicate");
	refused_pair(ADMIT_SYMLINK, "a", ADMIT_SYMLINK, "a", "entry_duplicate");
	refused_pair(ADMIT_FILE, "manifest.json", ADMIT_DIR, "d", "entry_duplicate");
}

Test(admit, something_that_is_no_directory_used_as_one)
{
	refused_pair(ADMIT_FILE, "a", ADMIT_FILE, "a/b", "entry_unsafe");
	refused_pair(ADMIT_FILE, "a", ADMIT_DIR, "a/b/c", "entry_unsafe");
	refused_pair(ADMIT_SYMLINK, "a", ADMIT_FILE, "a/b", "entry_unsafe");
	refused_pair(ADMIT_HARDLINK, "a", ADMIT_FILE, "a/b", "entry_unsafe");
	refused_pair(ADMIT_FILE, "manifest.sig", ADMIT_FILE, "manifest.sig/x", "entry_unsafe");
}

/* ---- limits ---- */

Test(admit, the_limit_of_entries_counts_implied_parents)
{
	struct packing packing = packing_limited(4);
	struct admitted admitted;

	add_manifest(&packing, "manifest.json");
	add_file(&packing, "a/b/c", "x");
	admitted = accepted(&packing);
	cr_expect_eq(admitted.entries, 4);
	admitted_free(&admitted);
	packing = packing_limited(3);
	add_manifest(&packing, "manifest.json");
	add_file(&packing, "a/b/c", "x");
	refused(&packing, EFBIG, "too_many_entries", NULL);
	packing = packing_limited(1);
	add_manifest(&packing, "manifest.json");
	add_file(&packing, "a", "x");
	refused(&packing, EFBIG, "too_many_entries", NULL);
}

/* Each path of 2,048 one-letter names implies an index of some 4 MiB: few entries, much memory. */
Test(admit, names_are_bounded_in_all)
{
	struct packing packing = packing_begin();
	char path[INDEX_PATH_MAX + 1];

	add_manifest(&packing, "manifest.json");
	for (size_t i = 0; i < INDEX_PATH_MAX; i++)
		path[i] = i % 2 ? '/' : 'd';
	for (unsigned i = 0; i < 60; i++) {
		path[0] = (char)('A' + i);
		begin(&packing, ADMIT_DIR, path, INDEX_PATH_MAX, "", 0, false);
	}
	refused(&packing, EFBIG, "too_many_entries", NULL);
}

Test(admit, a_hundred_thousand_entries)
{
	struct packing packing = packing_begin();
	struct admitted admitted;
	char path[64];

	add_manifest(&packing, "manifest.json");
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(path, sizeof(path), "d%u/f%u", i % 1000, i);
		begin(&packing, ADMIT_FILE, path, strlen(path), "", 0, false);
		cr_assert_eq(admit_body(packing.admit, &packing.empty, 0, NULL), 0);
	}
	admitted = accepted(&packing);
	cr_expect_eq(admitted.entries, 101001);
	admitted_free(&admitted);
}

Test(admit, is_freed_half_way)
{
	struct packing packing = packing_begin();

	add_manifest(&packing, "manifest.json");
	add_file(&packing, "manifest.sig", "x");
	begin(&packing, ADMIT_FILE, "f", 1, "", 0, false);
	admit_free(packing.admit);
	admit_free(NULL);
}
