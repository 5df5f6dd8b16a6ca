/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ENGINE_ARCHIVE_BUILDER_H
#define TESTS_ENGINE_ARCHIVE_BUILDER_H

#include <stddef.h>
#include <stdint.h>

/*
 * Writes archives by hand, right ones and wrong ones, for the tests of the decoder. Every function
 * adds to the end; want of memory ends the test.
 */
struct builder {
	uint8_t *bytes;
	size_t length, room;
	/* Of a zip: the directory that builder_zip_end adds. */
	uint8_t *directory;
	size_t directory_length;
	unsigned members;
};

void builder_free(struct builder *builder);
void builder_add(struct builder *builder, const void *bytes, size_t length);
void builder_add_zeros(struct builder *builder, size_t length);

/* A descriptor of an unlinked file that holds what was built. */
int builder_file(const struct builder *builder);

/* A ustar header. The checksum is right; `size` is what it says, whatever follows. */
void builder_tar_header(struct builder *builder, char type, const char *name, const char *target,
			uint64_t size);

/* A header and its body, padded. */
void builder_tar(struct builder *builder, char type, const char *name, const char *target,
		 const void *body, size_t length);
void builder_tar_file(struct builder *builder, const char *name, const char *text);

/* One pax header with one record, of a value that may hold anything. */
void builder_tar_pax(struct builder *builder, char type, const char *key, const void *value,
		     size_t length);

/* The two zero blocks. */
void builder_tar_end(struct builder *builder);

/* Writes the checksum of the header at `offset` anew. */
void builder_tar_seal(struct builder *builder, size_t offset);

/* An entry of a cpio archive in the newc (`sum` 0) or crc form. `name_size` counts the NUL. */
void builder_cpio(struct builder *builder, const char *magic, const char *name, size_t name_size,
		  unsigned mode, unsigned inode, unsigned links, const char *text, uint32_t sum);
void builder_cpio_end(struct builder *builder, const char *magic);

/* A stored member of a zip archive that was made on Unix with this mode, and the directory. */
void builder_zip(struct builder *builder, const char *name, unsigned mode, const char *text);
void builder_zip_end(struct builder *builder);

/* Replaces what was built by its gzip member. */
void builder_gzip(struct builder *builder);

#endif
