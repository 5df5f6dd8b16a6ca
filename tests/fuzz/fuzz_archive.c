/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder's whole work in this process, without its walls: whatever the bytes are, entries come
 * in order, their names are names, their bytes are within the limits, and a refusal has a code and
 * a text.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/archive.h"
#include "tests/engine/archive_builder.h"
#include "tests/fuzz/fuzz.h"

#define SEEDS 6

static const struct decoder_limits limits = {
    .archive_bytes = 1 << 20,
    .inflated_bytes = 1 << 20,
    .entries = 100,
    .cpu_seconds = 10,
    .memory_bytes = 256 << 20,
};

struct seen {
	bool in_entry;
	enum decoder_kind kind;
	uint64_t entries, bytes;
};

static void check_name(const char *name, size_t length)
{
	fuzz_check(name && length > 0 && length <= 4095);
	fuzz_check(strlen(name) == length);
}

static int see_entry(void *context, const struct decoder_entry *entry, struct reason *reason)
{
	struct seen *seen = context;
	bool link = entry->kind == DECODER_SYMLINK || entry->kind == DECODER_HARDLINK;

	(void)reason;
	fuzz_check(!seen->in_entry);
	fuzz_check(entry->kind >= DECODER_FILE && entry->kind <= DECODER_HARDLINK);
	check_name(entry->path, entry->path_length);
	fuzz_check(link == (entry->target != NULL));
	if (link)
		check_name(entry->target, entry->target_length);
	seen->in_entry = true;
	seen->kind = entry->kind;
	fuzz_check(++seen->entries <= limits.entries);
	return 0;
}

static int see_data(void *context, const void *bytes, size_t length, struct reason *reason)
{
	struct seen *seen = context;

	(void)reason;
	fuzz_check(seen->in_entry && bytes && length > 0);
	fuzz_check(seen->kind == DECODER_FILE || seen->kind == DECODER_HARDLINK);
	seen->bytes += length;
	fuzz_check(seen->bytes <= limits.inflated_bytes);
	return 0;
}

static int see_end(void *context, struct reason *reason)
{
	struct seen *seen = context;

	(void)reason;
	fuzz_check(seen->in_entry);
	seen->in_entry = false;
	return 0;
}

static int file_of(const uint8_t *bytes, size_t length)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("archive", MFD_CLOEXEC);
	fuzz_check(fd >= 0);
	fuzz_check(ftruncate(fd, 0) == 0);
	fuzz_check(pwrite(fd, bytes, length, 0) == (ssize_t)length);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const struct decoder_sink sink = {
	    .entry = see_entry, .data = see_data, .end = see_end};
	struct seen seen = {0};
	struct reason reason = {0};
	int result = archive_decode(file_of(bytes, length), &limits, &sink, &seen, &reason);

	if (result == 0) {
		fuzz_check(!seen.in_entry);
		return 0;
	}
	fuzz_check(result == -EBADMSG || result == -EINVAL || result == -EFBIG);
	fuzz_check(reason.error == -result && reason.code[0] && reason.message[0]);
	return 0;
}

static void build_tar(struct builder *tar)
{
	builder_tar_pax(tar, 'g', "comment", "c", 1);
	builder_tar_file(tar, "manifest.json", "{}");
	builder_tar_pax(tar, 'x', "path", "d/\xc3\xa9", 4);
	builder_tar_file(tar, "f", "text");
	builder_tar(tar, 'L', "././@LongLink", NULL, "longer", 7);
	builder_tar(tar, '2', "l", "f", "", 0);
	builder_tar(tar, '1', "h", "manifest.json", "body", 4);
	builder_tar_end(tar);
}

static void build_sparse(struct builder *tar)
{
	builder_tar(tar, 'S', "sparse", NULL, "abc", 3);
	memcpy(tar->bytes + 257, "ustar  \0", 8);
	memcpy(tar->bytes + 386, "00000001750\00000000000003", 24);
	memcpy(tar->bytes + 483, "00000004000", 11);
	builder_tar_seal(tar, 0);
	builder_tar_pax(tar, 'x', "GNU.sparse.map", "0,1,5,2", 7);
	builder_tar(tar, '0', "map", NULL, "abc", 3);
	builder_tar_end(tar);
}

static void build_cpio(struct builder *cpio)
{
	builder_cpio(cpio, "070702", "a", 2, 0100755, 2, 2, "", 0);
	builder_cpio(cpio, "070702", "b", 2, 0100755, 2, 2, "AB", 'A' + 'B');
	builder_cpio(cpio, "070702", "l", 2, 0120777, 3, 1, "a", 0);
	builder_cpio_end(cpio, "070702");
}

static void build_zip(struct builder *zip)
{
	builder_zip(zip, "d/", 0040755, "");
	builder_zip(zip, "d/f", 0100755, "text");
	builder_zip(zip, "l", 0120777, "d/f");
	builder_zip_end(zip);
}

const char *fuzz_seed(size_t number, size_t *ret_length)
{
	static void (*const builds[SEEDS - 1])(struct builder *) = {
	    build_tar, build_sparse, build_cpio, build_zip, build_tar};
	static struct builder seeds[SEEDS];

	if (number >= SEEDS)
		return NULL;
	if (number == SEEDS - 1) {
		*ret_length = 0;
		return "";
	}
	if (!seeds[number].bytes) {
		builds[number](&seeds[number]);
		if (number == SEEDS - 2)
			builder_gzip(&seeds[number]);
	}
	*ret_length = seeds[number].length;
	return (const char *)seeds[number].bytes;
}
