/* SPDX-License-Identifier: Apache-2.0 */
/* The byte layouts of tar(5), cpio(5) and APPNOTE.TXT, written out without any library's help. */
#include "tests/engine/archive_builder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

static void give_up(const char *what)
{
	perror(what);
	abort();
}

static void *grow(void *bytes, size_t room)
{
	void *grown = realloc(bytes, room);

	if (!grown)
		give_up("realloc");
	return grown;
}

void builder_free(struct builder *builder)
{
	free(builder->bytes);
	free(builder->directory);
	memset(builder, 0, sizeof(*builder));
}

void builder_add_zeros(struct builder *builder, size_t length)
{
	if (builder->length + length > builder->room) {
		builder->room = (builder->length + length) * 2;
		builder->bytes = grow(builder->bytes, builder->room);
	}
	memset(builder->bytes + builder->length, 0, length);
	builder->length += length;
}

void builder_add(struct builder *builder, const void *bytes, size_t length)
{
	builder_add_zeros(builder, length);
	if (length > 0)
		memcpy(builder->bytes + builder->length - length, bytes, length);
}

int builder_file(const struct builder *builder)
{
	int fd = memfd_create("archive", MFD_CLOEXEC);
	size_t done = 0;

	if (fd < 0)
		give_up("memfd_create");
	while (done < builder->length) {
		ssize_t count = write(fd, builder->bytes + done, builder->length - done);

		if (count < 0)
			give_up("write");
		done += (size_t)count;
	}
	return fd;
}

void builder_tar_seal(struct builder *builder, size_t offset)
{
	uint8_t *header = builder->bytes + offset;
	unsigned sum = 0;
	char digits[16];

	memset(header + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += header[i];
	snprintf(digits, sizeof(digits), "%06o", sum);
	memcpy(header + 148, digits, 7);
}

void builder_tar_header(struct builder *builder, char type, const char *name, const char *target,
			uint64_t size)
{
	size_t offset = builder->length;
	char digits[16];
	uint8_t *header;

	builder_add_zeros(builder, 512);
	header = builder->bytes + offset;
	memcpy(header, name, strnlen(name, 100));
	memcpy(header + 100,
	       "0000755\0"
	       "0000000\0"
	       "0000000\0",
	       24);
	snprintf(digits, sizeof(digits), "%011" PRIo64, size);
	memcpy(header + 124, digits, 12);
	memcpy(header + 136, "00000000000", 12);
	header[156] = (uint8_t)type;
	if (target)
		memcpy(header + 157, target, strnlen(target, 100));
	memcpy(header + 257,
	       "ustar\0"
	       "00",
	       8);
	builder_tar_seal(builder, offset);
}

void builder_tar(struct builder *builder, char type, const char *name, const char *target,
		 const void *body, size_t length)
{
	builder_tar_header(builder, type, name, target, length);
	builder_add(builder, body, length);
	builder_add_zeros(builder, (512 - length % 512) % 512);
}

void builder_tar_file(struct builder *builder, const char *name, const char *text)
{
	builder_tar(builder, '0', name, NULL, text, strlen(text));
}

void builder_tar_pax(struct builder *builder, char type, const char *key, const void *value,
		     size_t length)
{
	size_t rest = strlen(key) + length + 3, whole = rest + 1;
	struct builder record = {0};
	char digits[24];

	while ((size_t)snprintf(digits, sizeof(digits), "%zu", whole) + rest != whole)
		whole++;
	builder_add(&record, digits, strlen(digits));
	builder_add(&record, " ", 1);
	builder_add(&record, key, strlen(key));
	builder_add(&record, "=", 1);
	builder_add(&record, value, length);
	builder_add(&record, "\n", 1);
	builder_tar(builder, type, "pax", NULL, record.bytes, record.length);
	builder_free(&record);
}

void builder_tar_end(struct builder *builder)
{
	builder_add_zeros(builder, 1024);
}

void builder_cpio(struct builder *builder, const char *magic, const char *name, size_t name_size,
		  unsigned mode, unsigned inode, unsigned links, const char *text, uint32_t sum)
{
	char header[128];
	size_t length = strlen(text);

	snprintf(header, sizeof(header),
		 "%s%08X%08X%08X%08X%08X%08X%08zX%08X%08X%08X%08X%08zX%08" PRIX32, magic, inode,
		 mode, 0U, 0U, links, 0U, length, 0U, 0U, 0U, 0U, name_size, sum);
	builder_add(builder, header, 110);
	builder_add(builder, name, name_size);
	builder_add_zeros(builder, (4 - (110 + name_size) % 4) % 4);
	builder_add(builder, text, length);
	builder_add_zeros(builder, (4 - length % 4) % 4);
}

void builder_cpio_end(struct builder *builder, const char *magic)
{
	builder_cpio(builder, magic, "TRAILER!!!", 11, 0, 0, 1, "", 0);
}

static void put(uint8_t *out, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

void builder_zip(struct builder *builder, const char *name, unsigned mode, const char *text)
{
	size_t name_length = strlen(name), length = strlen(text);
	uint32_t sum = (uint32_t)crc32(0, (const Bytef *)text, (uInt)length);
	uint8_t local[30] = "PK\3\4\24", central[46] = "PK\1\2\24\3\24";
	struct builder directory = {.bytes = builder->directory,
				    .length = builder->directory_length,
				    .room = builder->directory_length};

	put(local + 14, sum, 4);
	put(local + 18, length, 4);
	put(local + 22, length, 4);
	put(local + 26, name_length, 2);
	memcpy(central + 10, local + 8, 20);
	put(central + 38, (uint64_t)mode << 16, 4);
	put(central + 42, builder->length, 4);
	builder_add(&directory, central, sizeof(central));
	builder_add(&directory, name, name_length);
	builder->directory = directory.bytes;
	builder->directory_length = directory.length;
	builder->members++;
	builder_add(builder, local, sizeof(local));
	builder_add(builder, name, name_length);
	builder_add(builder, text, length);
}

void builder_zip_end(struct builder *builder)
{
	uint8_t end[22] = "PK\5\6";

	put(end + 8, builder->members, 2);
	put(end + 10, builder->members, 2);
	put(end + 12, builder->directory_length, 4);
	put(end + 16, builder->length, 4);
	builder_add(builder, builder->directory, builder->directory_length);
	builder_add(builder, end, sizeof(end));
}

void builder_gzip(struct builder *builder)
{
	z_stream z = {.next_in = builder->bytes, .avail_in = (uInt)builder->length};
	struct builder packed = {0};

	builder_add_zeros(&packed, builder->length + builder->length / 100 + 1024);
	z.next_out = packed.bytes;
	z.avail_out = (uInt)packed.length;
	if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&z, Z_FINISH) != Z_STREAM_END)
		give_up("deflate");
	packed.length = (size_t)z.total_out;
	deflateEnd(&z);
	builder_free(builder);
	*builder = packed;
}
