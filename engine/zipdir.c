/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zip archive describes each member twice, and readers differ in which description they
 * believe. Here both must say the same, before libarchive sees the file. The directory must be
 * whole, and stand where the end record says; members must not share bytes, so that what is
 * inflated is bounded by what is stored. Numbers are little-endian; APPNOTE.TXT 6.3.
 */
#include "engine/zipdir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/zipfield.h"

#define END_SIZE ((size_t)22)
#define LOCATOR_SIZE ((size_t)20)
#define END64_SIZE ((size_t)56)
#define CENTRAL_SIZE ((size_t)46)

/* bsdtar fills its last block or record up with zeros when it writes a zip archive to a pipe. */
#define BLOCK_SIZE ((size_t)512)
#define RECORD_SIZE ((size_t)10240)

/* libarchive looks for the end record in the last 16 KiB, so a longer comment hides it. */
#define TAIL_MAX ((size_t)16 << 10)

/* Where the directory is, as the end records say. */
struct zip_end {
	uint64_t position; /* of the first of the end records */
	uint64_t count, size, offset;
};

bool zipdir_matches(const uint8_t *bytes, size_t length)
{
	return length >= 4 && (memcmp(bytes, "PK\3\4", 4) == 0 || memcmp(bytes, "PK\5\6", 4) == 0 ||
			       memcmp(bytes, "PK\6\6", 4) == 0);
}

static int corrupt(struct reason *reason, const char *what)
{
	return reason_set(reason, EBADMSG, "archive_corrupt", "the zip archive is damaged: %s",
			  what);
}

static bool is_padding(const uint8_t *bytes, size_t length, uint64_t file_size)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] != 0)
			return false;
	}
	return length < RECORD_SIZE && file_size % BLOCK_SIZE == 0;
}

/* The end record: the last one in the file, and its comment reaches the file's end. */
static int find_end(const uint8_t *tail, size_t length, uint64_t file_size, size_t *ret_at,
		    struct reason *reason)
{
	for (size_t at = length < END_SIZE ? 0 : length - END_SIZE + 1; at-- > 0;) {
		size_t end;

		if (memcmp(tail + at, "PK\5\6", 4) != 0)
			continue;
		end = at + END_SIZE + zipfield_u16(tail + at + 20);
		if (end < length && !is_padding(tail + end, length - end, file_size))
			return corrupt(reason, "there is data behind the end of the archive");
		if (end > length)
			break;
		*ret_at = at;
		return 0;
	}
	return reason_set(reason, EBADMSG, "archive_truncated",
			  "the zip archive ends before its directory's end record; copy it again");
}

/* The end record of large archives, which stands before a locator, before the plain one. */
static int read_end64(int fd, uint64_t locator_position, const uint8_t *locator,
		      struct zip_end *end, struct reason *reason)
{
	uint64_t position = zipfield_u64(locator + 8);
	uint8_t record[END64_SIZE];
	int result;

	if (zipfield_u32(locator + 4) != 0 || zipfield_u32(locator + 16) > 1)
		return reason_set(reason, EBADMSG, "archive_unsupported",
				  "zip archives of several parts are not supported");
	if (locator_position < END64_SIZE || position > locator_position - END64_SIZE)
		return corrupt(reason, "its zip64 end record is not where its locator says");
	result = zipfield_read(fd, position, record, sizeof(record), reason);
	if (result < 0)
		return result;
	if (memcmp(record, "PK\6\6", 4) != 0 ||
	    zipfield_u64(record + 4) != locator_position - position - 12)
		return corrupt(reason, "its zip64 end record is not where its locator says");
	if (zipfield_u32(record + 16) != 0 || zipfield_u32(record + 20) != 0 ||
	    zipfield_u64(record + 24) != zipfield_u64(record + 32))
		return reason_set(reason, EBADMSG, "archive_unsupported",
				  "zip archives of several parts are not supported");
	if ((end->count != UINT16_MAX && end->count != zipfield_u64(record + 32)) ||
	    (end->size != UINT32_MAX && end->size != zipfield_u64(record + 40)) ||
	    (end->offset != UINT32_MAX && end->offset != zipfield_u64(record + 48)))
		return corrupt(reason, "its two end records disagree");
	end->position = position;
	end->count = zipfield_u64(record + 32);
	end->size = zipfield_u64(record + 40);
	end->offset = zipfield_u64(record + 48);
	return 0;
}

static int read_end(int fd, uint64_t file_size, struct zip_end *end, struct reason *reason)
{
	uint8_t tail[TAIL_MAX];
	size_t length = file_size < TAIL_MAX ? (size_t)file_size : TAIL_MAX;
	size_t at = 0;
	int result = zipfield_read(fd, file_size - length, tail, length, reason);

	if (result == 0)
		result = find_end(tail, length, file_size, &at, reason);
	if (result < 0)
		return result;
	if (zipfield_u16(tail + at + 4) != 0 || zipfield_u16(tail + at + 6) != 0 ||
	    zipfield_u16(tail + at + 8) != zipfield_u16(tail + at + 10))
		return reason_set(reason, EBADMSG, "archive_unsupported",
				  "zip archives of several parts are not supported");
	end->position = file_size - length + at;
	end->count = zipfield_u16(tail + at + 10);
	end->size = zipfield_u32(tail + at + 12);
	end->offset = zipfield_u32(tail + at + 16);
	if (at >= LOCATOR_SIZE && memcmp(tail + at - LOCATOR_SIZE, "PK\6\7", 4) == 0)
		return read_end64(fd, end->position - LOCATOR_SIZE, tail + at - LOCATOR_SIZE, end,
				  reason);
	return 0;
}

/* The directory lies inside the file, and ends where the end records begin. */
static int judge_end(const struct zip_end *end, const struct decoder_limits *limits,
		     struct reason *reason)
{
	if (end->size > end->position || end->offset > end->position - end->size)
		return corrupt(reason, "its directory is not inside the file");
	if (end->offset < end->position - end->size)
		return corrupt(reason, "its directory is not where its end record says");
	if (end->count > end->size / CENTRAL_SIZE)
		return corrupt(reason, "its directory is shorter than its number of entries");
	if (end->count > limits->entries)
		return reason_set(reason, EFBIG, "too_many_entries",
				  "the archive has %" PRIu64 " entries, more than max_entries "
				  "(%" PRIu64 ")",
				  end->count, limits->entries);
	return 0;
}

static int refuse_name(const struct zip_member *member, int error, const char *code,
		       const char *message, struct reason *reason)
{
	int result = reason_set(reason, error, code, "%s", message);

	reason_name_entry(reason, member->name, member->name_length);
	return result;
}

static int judge_name(const struct zip_member *member, struct reason *reason)
{
	if (member->name_length == 0 || member->name_length > 4095)
		return refuse_name(member, EINVAL, "name_invalid",
				   "the entry's name is empty or has more than 4095 bytes", reason);
	if (memchr(member->name, 0, member->name_length) ||
	    memchr(member->name, '\\', member->name_length))
		return refuse_name(member, EINVAL, "entry_unsafe",
				   "the entry's name holds a backslash or a NUL byte, which zip "
				   "readers read in different ways",
				   reason);
	return 0;
}

/* Flag bits: 0 encrypted, 5 a patch, 6 strongly encrypted, 13 with a masked directory. */
static int judge_method(const struct zip_member *member, struct reason *reason)
{
	if ((member->flags & 0x2041) != 0 || member->method == 99)
		return refuse_name(member, EBADMSG, "archive_encrypted",
				   "the entry is encrypted; pack it without a password", reason);
	switch (member->method) {
	case 0:	 /* stored */
	case 8:	 /* deflate */
	case 12: /* bzip2 */
	case 14: /* lzma */
	case 93: /* zstd */
	case 95: /* xz */
		if ((member->flags & 0x20) == 0)
			return 0;
		break;
	default:
		break;
	}
	return refuse_name(member, EBADMSG, "archive_unsupported",
			   "the entry uses a zip method that is not supported; deflate is", reason);
}

/* What it is: a trailing slash, the mode of Unix (3) and macOS (19), or the bit of MS-DOS (0). */
static int judge_kind(struct zip_member *member, unsigned system, uint32_t attributes,
		      struct reason *reason)
{
	bool has_mode = system == 3 || system == 19;
	mode_t mode = has_mode ? (mode_t)(attributes >> 16) : 0;

	member->executable = (mode & 0111) != 0;
	member->kind = DECODER_FILE;
	if (member->name[member->name_length - 1] == '/' || S_ISDIR(mode) ||
	    (system == 0 && (attributes & 0x10) != 0))
		member->kind = DECODER_DIR;
	else if (S_ISLNK(mode))
		member->kind = DECODER_SYMLINK;
	else if ((mode & S_IFMT) != 0 && !S_ISREG(mode))
		return refuse_name(member, EINVAL, "entry_unsupported",
				   "the entry is a device, a fifo or a socket", reason);
	if (member->kind == DECODER_DIR && member->size > 0)
		return refuse_name(member, EINVAL, "entry_unsafe",
				   "the entry is named as a directory, but has contents", reason);
	if (member->size == 0 && member->crc != 0)
		return refuse_name(member, EBADMSG, "archive_corrupt",
				   "the entry's checksum is wrong; copy the archive again", reason);
	return 0;
}

static int parse_central(const uint8_t *bytes, size_t left, struct zip_member *member,
			 size_t *ret_length, struct reason *reason)
{
	struct zip_sizes sizes;
	size_t name_length, extra_length;
	int result;

	if (left < CENTRAL_SIZE || memcmp(bytes, "PK\1\2", 4) != 0)
		return corrupt(reason, "its directory holds something else");
	name_length = zipfield_u16(bytes + 28);
	extra_length = zipfield_u16(bytes + 30);
	*ret_length = CENTRAL_SIZE + name_length + extra_length + zipfield_u16(bytes + 32);
	if (*ret_length > left)
		return corrupt(reason, "its directory is cut short");
	member->name = (const char *)bytes + CENTRAL_SIZE;
	member->name_length = name_length;
	member->flags = zipfield_u16(bytes + 8);
	member->method = zipfield_u16(bytes + 10);
	member->crc = zipfield_u32(bytes + 16);
	sizes = (struct zip_sizes){
	    .packed_size = zipfield_u32(bytes + 20),
	    .size = zipfield_u32(bytes + 24),
	    .offset = zipfield_u32(bytes + 42),
	    .disk = zipfield_u16(bytes + 34),
	};
	result = judge_name(member, reason);
	if (result == 0)
		result = judge_method(member, reason);
	if (result == 0)
		result = zipfield_extra(bytes + CENTRAL_SIZE + name_length, extra_length, member,
					&sizes, reason);
	if (result < 0)
		return result;
	member->packed_size = sizes.packed_size;
	member->size = sizes.size;
	member->header_offset = sizes.offset;
	if (sizes.disk != 0)
		return corrupt(reason, "an entry is on another disk");
	return judge_kind(member, bytes[5], zipfield_u32(bytes + 38), reason);
}

static int by_offset(const void *left, const void *right)
{
	const struct zip_member *a = left, *b = right;

	return (a->header_offset > b->header_offset) - (a->header_offset < b->header_offset);
}

static int parse_members(struct zipdir *dir, uint64_t count, struct reason *reason)
{
	size_t at = 0;

	dir->members = calloc((size_t)count + 1, sizeof(*dir->members));
	if (!dir->members)
		return codec_out_of_memory("directory", reason);
	while (dir->count < count) {
		size_t length = 0;
		int result = parse_central(dir->bytes + at, dir->length - at,
					   &dir->members[dir->count], &length, reason);

		if (result < 0)
			return result;
		at += length;
		dir->count++;
	}
	if (at != dir->length)
		return corrupt(reason, "its directory holds more than its number of entries");
	qsort(dir->members, dir->count, sizeof(*dir->members), by_offset);
	return 0;
}

/* Each member's own header, and that it keeps to its own bytes. */
static int judge_places(int fd, struct zipdir *dir, struct reason *reason)
{
	if (dir->count == 0 && dir->offset > 0)
		return corrupt(reason, "there is something in front of its empty directory");
	if (dir->count > 0 && dir->members[0].header_offset != 0)
		return corrupt(reason, "there is something in front of its first entry");
	for (size_t i = 0; i < dir->count; i++) {
		uint64_t next =
		    i + 1 < dir->count ? dir->members[i + 1].header_offset : dir->offset;
		int result = zipfield_local(fd, &dir->members[i], next, reason);

		if (result < 0)
			return result;
	}
	return 0;
}

int zipdir_read(int fd, const struct decoder_limits *limits, struct zipdir *dir,
		struct reason *reason)
{
	struct zip_end end = {0};
	off_t size = lseek(fd, 0, SEEK_END);
	int result;

	memset(dir, 0, sizeof(*dir));
	if (size < 0)
		return reason_set(reason, EIO, "decoder_failed",
				  "cannot look at the spooled archive: %s", strerror(errno));
	dir->file_size = (uint64_t)size;
	result = read_end(fd, dir->file_size, &end, reason);
	if (result == 0)
		result = judge_end(&end, limits, reason);
	if (result < 0)
		return result;
	dir->offset = end.offset;
	dir->length = (size_t)end.size;
	dir->bytes = malloc(dir->length + 1);
	if (!dir->bytes)
		return codec_out_of_memory("directory", reason);
	result = zipfield_read(fd, end.offset, dir->bytes, dir->length, reason);
	if (result == 0)
		result = parse_members(dir, end.count, reason);
	return result == 0 ? judge_places(fd, dir, reason) : result;
}

void zipdir_free(struct zipdir *dir)
{
	free(dir->members);
	free(dir->bytes);
	memset(dir, 0, sizeof(*dir));
}
