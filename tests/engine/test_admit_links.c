/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission's judgement of links: hard links as tar, cpio and liars bring them, symbolic links
 * against the finished tree and through each other.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "tests/engine/packing.h"

static struct packing with_manifest(void)
{
	struct packing packing = packing_begin();

	add_manifest(&packing, "manifest.json");
	return packing;
}

/* The line of a file with those bytes. */
static void expect_file(const struct admitted *admitted, const char *path, const char *bytes,
			bool executable)
{
	char line[512], hex[DIGEST_HEX + 1];
	struct digest digest;

	cr_assert_eq(digest_of(bytes, strlen(bytes), &digest), 0);
	snprintf(line, sizeof(line), "%s type=file mode=%s size=%zu sha256=%s", path,
		 executable ? "0755" : "0644", strlen(bytes), digest_hex(&digest, hex));
	expect_line(admitted, line);
}

/* ---- hard links ---- */

Test(hard_links, tar_brings_the_body_first)
{
	struct packing packing = with_manifest();
	struct admitted admitted;

	add_executable(&packing, "bin/run", "body");
	add_hard_link(&packing, "bin/again", "bin/run");
	add_hard_link(&packing, "third", "./bin//again");
	admitted = accepted(&packing);
	expect_file(&admitted, "bin/run", "body", true);
	expect_file(&admitted, "bin/again", "body", true);
	expect_file(&admitted, "third", "body", true);
	cr_expect_eq(admitted.bytes, strlen(MANIFEST) + 12);
	cr_expect(admitted.has_executable);
	admitted_free(&admitted);
}

Test(hard_links, the_body_may_come_later)
{
	struct packing packing = with_manifest();
	struct admitted admitted;

	add_hard_link(&packing, "c", "b");
	add_hard_link(&packing, "b", "a");
	add_file(&packing, "a", "body");
	admitted = accepted(&packing);
	expect_file(&admitted, "a", "body", false);
	expect_file(&admitted, "b", "body", false);
	expect_file(&admitted, "c", "body", false);
	admitted_free(&admitted);
}

/* newc: each name but the last comes empty; libarchive makes the second and later ones links. */
Test(hard_links, cpio_brings_the_body_last)
{
	struct packing packing = with_manifest();
	struct admitted admitted;

	add_file(&packing, "a", "");
	add_hard_link(&packing, "b", "a");
	begin(&packing, ADMIT_HARDLINK, "c", 1, "a", 1, true);
	body(&packing, "body");
	admitted = accepted(&packing);
	expect_file(&admitted, "a", "body", true);
	expect_file(&admitted, "b", "body", true);
	expect_file(&admitted, "c", "body", true);
	admitted_free(&admitted);
}

Test(hard_links, an_empty_set)
{
	struct packing packing = with_manifest();
	struct admitted admitted;

	add_file(&packing, "a", "");
	add_hard_link(&packing, "b", "a");
	admitted = accepted(&packing);
	expect_file(&admitted, "a", "", false);
	expect_file(&admitted, "b", "", false);
	admitted_free(&admitted);
}

Test(hard_links, the_same_body_twice)
{
	struct packing packing = with_manifest();
	struct admitted admitted;

	add_file(&packing, "a", "body");
	add_hard_link(&packing, "b", "a");
	body(&packing, "body");
	admitted = accepted(&packing);
	expect_file(&admitted, "b", "body", false);
	admitted_free(&admitted);
}

Test(hard_links, bodies_that_disagree)
{
	struct packing packing = with_manifest();

	add_file(&packing, "a", "body");
	add_hard_link(&packing, "b", "a");
	body(&packing, "another");
	refused(&packing, EINVAL, "entry_unsafe", "b");
}

Test(hard_links, to_nothing_to_themselves_or_in_a_circle)
{
	struct packing packing = with_manifest();

	add_hard_link(&packing, "a", "missing");
	refused(&packing, EINVAL, "entry_unsafe", "a");
	packing = with_manifest();
	add_hard_link(&packing, "a", "a");
	refused(&packing, EINVAL, "entry_unsafe", "a");
	packing = with_manifest();
	add_hard_link(&packing, "a", "b");
	add_hard_link(&packing, "b", "c");
	add_hard_link(&packing, "c", "a");
	refused(&packing, EINVAL, "entry_unsafe", NULL);
	packing = with_manifest();
	add_hard_link(&packing, "a", "b");
	add_hard_link(&packing, "b", "a");
	body(&packing, "body");
	refused(&packing, EINVAL, "entry_unsafe", NULL);
}

Test(hard_links, to_a_directory)
{
	struct packing packing = with_manifest();

	add_directory(&packing, "d");
	add_hard_link(&packing, "a", "d");
	refused(&packing, EINVAL, "entry_unsafe", "a");
	packing = with_manifest();
	add_file(&packing, "implied/x", "x");
	add_hard_link(&packing, "a", "implied/");
	refused(&packing, EINVAL, "entry_unsafe", "a");
	packing = with_manifest();
	add_hard_link(&packing, "a", ".");
	refused(&packing, EINVAL, "entry_unsafe", "a");
}

Test(hard_links, targets_that_lead_out)
{
	static const char *const targets[] = {"/etc/passwd", "../x", "a/../../x", "..", "d/../f"};

	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		struct packing packing = with_manifest();

		add_file(&packing, "f", "x");
		add_directory(&packing, "d");
		add_hard_link(&packing, "a", targets[i]);
		refused(&packing, EINVAL, "entry_unsafe", NULL);
	}
}

Test(hard_links, to_a_symbolic_link_are_that_link)
{
	struct packing packing = with_manifest();
	struct admitted admitted;

	add_link(&packing, "one/l", "../manifest.json");
	add_hard_link(&packing, "two/l", "one/l");
	admitted = accepted(&packing);
	expect_line(&admitted, "one/l type=link mode=0777 link=../manifest.json");
	expect_line(&admitted, "two/l type=link mode=0777 link=../manifest.json");
	admitted_free(&admitted);
	/* At its new place the same text leads out. */
	packing = with_manifest();
	add_link(&packing, "one/l", "../manifest.json");
	add_hard_link(&packing, "l", "one/l");
	refused(&packing, EINVAL, "entry_unsafe", "l");
	packing = with_manifest();
	add_link(&packing, "l", "x");
	add_hard_link(&packing, "m", "l");
	body(&packing, "body");
	refused(&packing, EINVAL, "entry_unsafe", NULL);
}

Test(hard_links, are_stripped_like_paths)
{
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_manifest(&packing, "top/manifest.json");
	add_file(&packing, "top/a", "body");
	add_hard_link(&packing, "top/b", "top/a");
	admitted = accepted(&packing);
	expect_file(&admitted, "b", "body", false);
	admitted_free(&admitted);
	packing = packing_begin();
	add_manifest(&packing, "top/manifest.json");
	add_file(&packing, "top/a", "body");
	add_hard_link(&packing, "top/b", "a");
	refused(&packing, EINVAL, "entry_unsafe", NULL);
}

Test(hard_links, of_the_manifest)
{
	struct packing packing = with_manifest();
	struct admitted admitted;

	add_hard_link(&packing, "copy", "manifest.json");
	admitted = accepted(&packing);
	expect_file(&admitted, "copy", MANIFEST, false);
	admitted_free(&admitted);
}

/* tar brings the bytes with whichever name it meets first. */
Test(hard_links, a_manifest_whose_bytes_came_under_another_name)
{
	struct packing packing = packing_begin();
	struct admitted admitted;

	add_file(&packing, "a.json", MANIFEST);
	add_hard_link(&packing, "manifest.json", "a.json");
	admitted = accepted(&packing);
	cr_expect_str_eq(admitted.manifest.type, "order");
	expect_file(&admitted, "manifest.json", MANIFEST, false);
	admitted_free(&admitted);
	/* cpio: with the last one. */
	packing = packing_begin();
	add_file(&packing, "top/manifest.json", "");
	add_hard_link(&packing, "top/z.json", "top/manifest.json");
	body(&packing, MANIFEST);
	admitted = accepted(&packing);
	expect_file(&admitted, "z.json", MANIFEST, false);
	admitted_free(&admitted);
}

Test(hard_links, a_hundred_thousand_in_one_chain)
{
	struct packing packing = with_manifest();
	struct admitted admitted;
	char path[16], target[16];

	for (unsigned i = 0; i < 100000; i++) {
		snprintf(path, sizeof(path), "n%06u", i);
		snprintf(target, sizeof(target), "n%06u", i + 1);
		begin(&packing, ADMIT_HARDLINK, path, 7, target, 7, false);
	}
	add_file(&packing, "n100000", "body");
	admitted = accepted(&packing);
	expect_file(&admitted, "n000000", "body", false);
	admitted_free(&admitted);
}

/* ---- symbolic links ---- */

/* One link, in a package that also has d/e/f, up -> .. inside d/e, and self -> . at the root. */
static struct packing with_link(const char *path, const char *target)
{
	struct packing packing = with_manifest();

	add_file(&packing, "d/e/f", "x");
	add_link(&packing, "d/e/up", "..");
	add_link(&packing, "self", ".");
	add_link(&packing, "deep", "d/e");
	add_link(&packing, path, target);
	return packing;
}

Test(symbolic_links, that_stay_inside)
{
	static const char *const links[][2] = {
		{"l", "manifest.json"},    {"l", "./d//e/./f"},      {"l", "missing"},
		{"l", "missing/deeper"},   {"l", "d/.."},            {"l", "d/e/../../self"},
		{"d/l", ".."},             {"d/l", "../d/e/../l2"},  {"d/e/l", "../../x"},
		{"l", "l"},                {"l", "./l/l"},           {"l", "self/self/self"},
		{"l", "d/e/up/up2"},       {"l", "..."},             {"l", "missing/.."},
		{"l", "deep/../.."},       {"l", "deep/up/e/f"},     {"l", " "},
		{"l", "manifest.json/x"},  {"d/l", "e/up/../self"},  {"l", "deep/"},
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		struct packing packing = with_link(links[i][0], links[i][1]);
		struct admitted admitted = {0};

		if (!packing.error)
			packing.error = admit_finish(packing.admit, &admitted, &packing.reason);
		cr_expect_eq(packing.error, 0, "%s -> %s: %s", links[i][0], links[i][1],
			     packing.reason.message);
		admitted_free(&admitted);
		admit_free(packing.admit);
	}
}

Test(symbolic_links, that_lead_out)
{
	static const char *const links[][2] = {
		{"l", "/"},           {"l", "/etc/passwd"},    {"l", "//x"},
		{"l", ".."},          {"l", "../x"},           {"l", "./.."},
		{"l", "d/../.."},     {"d/l", "../.."},        {"d/e/l", "../../../x"},
		{"l", "self/.."},     {"l", "deep/../../.."},  {"l", "deep/up/../x/../.."},
		{"l", "missing/../.."}, {"l", "d/e/f/../../../.."}, {"l", "d/e/up/../.."},
		{"d/l", "../self/../x"}, {"l", "d/./.././.."},
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		struct packing packing = with_link(links[i][0], links[i][1]);

		refused(&packing, EINVAL, "entry_unsafe", links[i][0]);
	}
}

Test(symbolic_links, that_lead_out_through_others_in_any_order)
{
	struct packing packing = with_manifest();
	struct admitted admitted;

	add_link(&packing, "l", "step/../..");
	add_link(&packing, "step", "a/b");
	add_directory(&packing, "a/b");
	admitted = accepted(&packing); /* a/b/../.. is the root */
	admitted_free(&admitted);
	packing = with_manifest();
	add_link(&packing, "l", "step/../..");
	add_link(&packing, "step", "a");
	add_directory(&packing, "a");
	refused(&packing, EINVAL, "entry_unsafe", "l");
	packing = with_manifest();
	add_link(&packing, "x/l", "../y/m");
	add_link(&packing, "y/m", "../z/n");
	add_link(&packing, "z/n", "/etc");
	refused(&packing, EINVAL, "entry_unsafe", NULL);
}

Test(symbolic_links, targets_that_are_no_names)
{
	struct packing packing = with_manifest();
	static char target[INDEX_PATH_MAX + 2];
	struct admitted admitted;

	add_link(&packing, "l", "");
	refused(&packing, EINVAL, "entry_unsafe", "l");
	packing = with_manifest();
	begin(&packing, ADMIT_SYMLINK, "l", 1, "a\0b", 3, false);
	refused(&packing, EINVAL, "name_invalid", "l");
	memset(target, 't', INDEX_PATH_MAX + 1);
	packing = with_manifest();
	add_link(&packing, "l", target);
	refused(&packing, EINVAL, "name_invalid", "l");
	target[INDEX_PATH_MAX] = '\0';
	packing = with_manifest();
	add_link(&packing, "l", target);
	admitted = accepted(&packing);
	cr_expect_eq(admitted.entries, 2);
	admitted_free(&admitted);
}

Test(symbolic_links, are_judged_after_stripping)
{
	struct packing packing = packing_begin();

	add_manifest(&packing, "top/manifest.json");
	add_link(&packing, "top/l", "../top/manifest.json");
	refused(&packing, EINVAL, "entry_unsafe", NULL);
}

Test(symbolic_links, in_circles_are_harmless)
{
	struct packing packing = with_manifest();
	struct admitted admitted;

	add_link(&packing, "a", "b");
	add_link(&packing, "b", "c/x");
	add_link(&packing, "c", "a");
	add_link(&packing, "grow", "grow/grow");
	admitted = accepted(&packing);
	cr_expect_eq(admitted.entries, 5);
	admitted_free(&admitted);
}

/* Ten thousand links that each lead through forty more: accepted or not, it ends soon. */
Test(symbolic_links, work_is_bounded)
{
	struct packing packing = with_manifest();
	static char target[4096];
	struct admitted admitted = {0};
	char path[32];
	int error;

	for (size_t i = 0; i + 2 < sizeof(target); i += 2)
		memcpy(target + i, "./", 2);
	memcpy(target + 4000, "n00", 4);
	for (unsigned i = 0; i < 39; i++) {
		snprintf(path, sizeof(path), "n%02u", i);
		snprintf(target + 4000, 8, "n%02u", i + 1);
		add_link(&packing, path, target);
	}
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(path, sizeof(path), "l%u", i);
		add_link(&packing, path, "n00");
	}
	cr_assert_eq(packing.error, 0);
	error = admit_finish(packing.admit, &admitted, &packing.reason);
	cr_expect(error == 0 || (error == -EINVAL && !strcmp(packing.reason.code, "entry_unsafe")));
	admitted_free(&admitted);
	admit_free(packing.admit);
}

/* ---- the executable ---- */

static bool has_executable(struct packing *packing)
{
	struct admitted admitted = accepted(packing);
	bool has = admitted.has_executable;

	admitted_free(&admitted);
	return has;
}

Test(executable, through_links)
{
	struct packing packing = with_manifest();

	add_link(&packing, "bin", "usr/bin");
	add_link(&packing, "usr/bin/run", "../lib/real");
	add_executable(&packing, "usr/lib/real", "#!/bin/sh\n");
	cr_expect(has_executable(&packing));
}

Test(executable, that_is_none)
{
	struct packing packing = with_manifest();

	add_file(&packing, "bin/run", "#!/bin/sh\n");
	cr_expect_not(has_executable(&packing));
	packing = with_manifest();
	add_directory(&packing, "bin/run");
	cr_expect_not(has_executable(&packing));
	packing = with_manifest();
	add_link(&packing, "bin/run", "run");
	cr_expect_not(has_executable(&packing));
	packing = with_manifest();
	add_link(&packing, "bin/run", "missing");
	cr_expect_not(has_executable(&packing));
	/* What is taken out of the package cannot be run. */
	packing = with_manifest();
	add_executable(&packing, "manifest.sig", "#!/bin/sh\n");
	add_link(&packing, "bin/run", "../manifest.sig");
	cr_expect_not(has_executable(&packing));
}

Test(executable, of_another_name)
{
	struct packing packing = packing_begin();

	add_file(&packing, "manifest.json",
		 "{\"entry_module\": \"order\", \"entry_function\": \"main\"}");
	add_executable(&packing, "bin/main", "#!/bin/sh\n");
	cr_expect(has_executable(&packing));
}
