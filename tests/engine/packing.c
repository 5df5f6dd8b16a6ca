/* SPDX-License-Identifier: Apache-2.0 */
/* Archives made by hand for the tests of admission: see packing.h. */
#include "tests/engine/packing.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct packing packing_limited(uint64_t entries_max)
{
	struct packing packing = {.admit = admit_new(entries_max)};

	cr_assert_not_null(packing.admit);
	cr_assert_eq(digest_of("", 0, &packing.empty), 0);
	return packing;
}

struct packing packing_begin(void)
{
	return packing_limited(1000000);
}

void begin(struct packing *packing, enum admit_kind kind, const char *path, size_t path_length,
	   const char *target, size_t target_length, bool executable)
{
	if (!packing->error)
		packing->error = admit_entry(packing->admit, kind, path, path_length, target,
					     target_length, executable, &packing->reason);
}

void body(struct packing *packing, const char *bytes)
{
	struct digest digest;

	if (packing->error)
		return;
	if (*bytes)
		cr_assert_eq(admit_data(packing->admit, bytes, strlen(bytes), NULL), 0);
	cr_assert_eq(digest_of(bytes, strlen(bytes), &digest), 0);
	cr_assert_eq(admit_body(packing->admit, &digest, strlen(bytes), NULL), 0);
}

void add(struct packing *packing, enum admit_kind kind, const char *path)
{
	begin(packing, kind, path, strlen(path), "manifest.json", 13, false);
	if (kind == ADMIT_FILE)
		body(packing, path);
}

void add_file(struct packing *packing, const char *path, const char *bytes)
{
	begin(packing, ADMIT_FILE, path, strlen(path), NULL, 0, false);
	body(packing, bytes);
}

void add_executable(struct packing *packing, const char *path, const char *bytes)
{
	begin(packing, ADMIT_FILE, path, strlen(path), NULL, 0, true);
	body(packing, bytes);
}

void add_manifest(struct packing *packing, const char *path)
{
	add_file(packing, path, MANIFEST);
}

void add_directory(struct packing *packing, const char *path)
{
	begin(packing, ADMIT_DIR, path, strlen(path), NULL, 0, true);
}

void add_link(struct packing *packing, const char *path, const char *target)
{
	begin(packing, ADMIT_SYMLINK, path, strlen(path), target, strlen(target), true);
}

void add_hard_link(struct packing *packing, const char *path, const char *target)
{
	begin(packing, ADMIT_HARDLINK, path, strlen(path), target, strlen(target), false);
}

struct admitted accepted(struct packing *packing)
{
	struct admitted admitted = {0};
	struct digest version;

	if (!packing->error)
		packing->error = admit_finish(packing->admit, &admitted, &packing->reason);
	cr_assert_eq(packing->error, 0, "%s: %s", packing->reason.code, packing->reason.message);
	cr_assert_eq(digest_of(admitted.index_text, admitted.index_length, &version), 0);
	cr_assert(digest_equal(&version, &admitted.version));
	admit_free(packing->admit);
	packing->admit = NULL;
	return admitted;
}

void refused(struct packing *packing, int error, const char *code, const char *entry)
{
	struct admitted admitted = {0};

	if (!packing->error)
		packing->error = admit_finish(packing->admit, &admitted, &packing->reason);
	cr_expect_eq(packing->error, -error, "%d, not %d", packing->error, -error);
	cr_expect_eq(packing->reason.error, error);
	cr_expect_str_eq(packing->reason.code, code);
	cr_expect_neq(packing->reason.message[0], '\0');
	if (entry)
		cr_expect_str_eq(packing->reason.entry, entry);
	cr_expect_null(admitted.index_text, "a refusal leaves nothing behind");
	admitted_free(&admitted);
	admit_free(packing->admit);
	packing->admit = NULL;
}

void expect_paths(const struct admitted *admitted, const char *expected)
{
	char *text = malloc(admitted->index_length), paths[4096] = "";
	struct index_reader reader;
	struct index_entry entry;
	size_t length = 0;

	cr_assert_not_null(text);
	memcpy(text, admitted->index_text, admitted->index_length);
	cr_assert_eq(index_reader_open(&reader, text, admitted->index_length, NULL), 0);
	while (index_reader_next(&reader, &entry, NULL) == 1) {
		if (entry.path_length == 0)
			continue;
		length += (size_t)snprintf(paths + length, sizeof(paths) - length, "%s%.*s",
					   length > 0 ? " " : "", (int)entry.path_length,
					   entry.path);
		cr_assert_lt(length, sizeof(paths));
	}
	cr_expect_str_eq(paths, expected);
	free(text);
}

void expect_line(const struct admitted *admitted, const char *line)
{
	char wanted[512];
	int length = snprintf(wanted, sizeof(wanted), "\n./%s\n", line);

	cr_expect(memmem(admitted->index_text, admitted->index_length, wanted, (size_t)length),
		  "no line \"%s\" in: %.*s", line, (int)admitted->index_length,
		  admitted->index_text);
}
