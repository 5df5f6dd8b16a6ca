/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical index: an accepted text is the one that the writer would have written, its tree can be
 * walked by name, and the archive over it can be read from its beginning to its end.
 */
#include <errno.h>
#include <string.h>

#include "engine/tarball.h"
#include "tests/fuzz/fuzz.h"

#define HEX  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ROOT "#mtree\n. type=dir mode=0755\n"

static const char *const seeds[] = {
	"",
	ROOT,
	ROOT "./bin type=dir mode=0755\n"
	     "./bin/run type=file mode=0755 size=812 sha256=" HEX "\n"
	     "./current type=link mode=0777 link=lib/v2\n",
	ROOT "./a type=dir mode=0755\n"
	     "./a-b type=file mode=0644 size=0 sha256=" HEX "\n"
	     "./a/c type=dir mode=0755\n"
	     "./a/c/\\040\\377 type=file mode=0644 size=8589934592 sha256=" HEX "\n"
	     "./a0 type=link mode=0777 link=\\052\\134\n",
	ROOT "./f type=file mode=0644 size=18446744073709551615 sha256=" HEX "\n",
	ROOT "./f type=file mode=0644 size=9223372036854775807 sha256=" HEX "\n"
	     "./g type=file mode=0644 size=511 sha256=" HEX "\n",
};

const char *fuzz_seed(size_t number, size_t *ret_length)
{
	if (number >= sizeof(seeds) / sizeof(seeds[0]))
		return NULL;
	*ret_length = strlen(seeds[number]);
	return seeds[number];
}

static char *copy_of(const uint8_t *bytes, size_t length)
{
	char *copy = malloc(length > 0 ? length : 1);

	fuzz_check(copy);
	if (length > 0)
		memcpy(copy, bytes, length);
	return copy;
}

/* Reads all entries and writes them again: the same bytes, or there are two spellings. */
static void check_spelling(const uint8_t *bytes, size_t length, uint32_t count)
{
	struct index_entry *entries = calloc(count, sizeof(*entries));
	char *text = copy_of(bytes, length), *again;
	struct index_reader reader;
	size_t again_length;

	fuzz_check(entries);
	fuzz_check(index_reader_open(&reader, text, length, NULL) == 0);
	for (uint32_t i = 0; i < count; i++)
		fuzz_check(index_reader_next(&reader, &entries[i], NULL) == 1);
	fuzz_check(index_emit(entries, count, &again, &again_length) == 0);
	fuzz_check(again_length == length && memcmp(again, bytes, length) == 0);
	free(again);
	free(text);
	free(entries);
}

static void check_tree(const struct tree *tree)
{
	for (uint32_t i = 1; i < tree_count(tree); i++) {
		const struct tree_node *node = tree_node(tree, i);
		char path[INDEX_PATH_MAX + 1];
		uint32_t found;

		fuzz_check(node->parent < i);
		fuzz_check(tree_lookup(tree, node->parent, node->name, node->name_length, &found) ==
			   0);
		fuzz_check(found == i);
		fuzz_check(tree_path(tree, i, path, sizeof(path)) <= INDEX_PATH_MAX);
	}
}

static void check_tarball(const struct tree *tree)
{
	struct digest signature = {{0}};
	char literal[TARBALL_HEADER_MAX];
	struct tarball_segment segment;
	struct tarball *tarball;
	int error = tarball_new(tree, &signature, 1, &tarball);

	fuzz_check(error == 0 || error == -EFBIG || error == -ENOMEM);
	if (error)
		return;
	fuzz_check(tarball_size(tarball) % 512 == 0);
	for (uint64_t at = 0; at < tarball_size(tarball); at += segment.length) {
		fuzz_check(tarball_segment(tarball, at, literal, &segment) == 0);
		fuzz_check(segment.length > 0 && segment.length <= tarball_size(tarball) - at);
		fuzz_check(segment.source == TARBALL_CONTENT ||
			   segment.length <= TARBALL_HEADER_MAX);
	}
	tarball_free(tarball);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct tree *tree = NULL;
	struct reason reason = {0};
	int error = tree_new(copy_of(bytes, length), length, &tree, &reason);

	fuzz_check(error == 0 || error == -EBADMSG || error == -ENOMEM);
	if (error == -EBADMSG)
		fuzz_check(strcmp(reason.code, "index_damaged") == 0);
	if (error)
		return 0;
	check_spelling(bytes, length, tree_count(tree));
	check_tree(tree);
	check_tarball(tree);
	tree_free(tree);
	return 0;
}
