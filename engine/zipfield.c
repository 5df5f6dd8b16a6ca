/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands around the data of a zip member: the local header, extra fields in it and in the
 * directory, the descriptor behind the data; and the target of a link, which is data. Everything
 * is held against the member as the directory has it, and any difference is a refusal.
 */
#include "engine/zipfield.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define LOCAL_SIZE ((size_t)30)
#define DESCRIPTOR_MAX ((size_t)24)

/* The flag bit that says: sizes and sum follow the data. */
#define FLAG_DESCRIPTOR 0x0008

/* A link's target is short, and so is its packed form. */
#define TARGET_MAX ((size_t)4095)
#define PACKED_TARGET_MAX ((size_t)8192)

int zipfield_read(int fd, uint64_t offset, void *buffer, size_t length, struct reason *reason)
{
	size_t done = 0;

	while (done < length) {
		ssize_t got =
		    pread(fd, (uint8_t *)buffer + done, length - done, (off_t)(offset + done));

		if (got == 0)
			return reason_set(reason, EBADMSG, "archive_truncated",
					  "the zip archive ends early; copy it again");
		if (got < 0 && errno != EINTR)
			return reason_set(reason, EIO, "decoder_failed",
					  "cannot read the spooled archive: %s", strerror(errno));
		done += got > 0 ? (size_t)got : 0;
	}
	return 0;
}

static int disagree(const struct zip_member *member, const char *what, struct reason *reason)
{
	int result = reason_set(reason, EBADMSG, "archive_corrupt", "the zip entry's %s", what);

	reason_name_entry(reason, member->name, member->name_length);
	return result;
}

/* 0x0001, zip64: the wide forms of those numbers that are all ones, in this order. */
static bool take_wide(const uint8_t *bytes, size_t length, struct zip_sizes *sizes)
{
	uint64_t *numbers[] = {&sizes->size, &sizes->packed_size, &sizes->offset};
	size_t at = 0;

	for (size_t i = 0; i < 3; i++) {
		if (*numbers[i] != UINT32_MAX)
			continue;
		if (length - at < 8)
			return false;
		*numbers[i] = zipfield_u64(bytes + at);
		at += 8;
		if (*numbers[i] > INT64_MAX / 4)
			return false;
	}
	if (sizes->disk == UINT16_MAX && length - at >= 4)
		sizes->disk = zipfield_u32(bytes + at);
	sizes->wide = true;
	return true;
}

/* 0x7075, Unicode path: a version, the CRC of the plain name, and the name in UTF-8. */
static bool is_same_name(const uint8_t *bytes, size_t length, const struct zip_member *member)
{
	return length == 5 + member->name_length &&
	       memcmp(bytes + 5, member->name, member->name_length) == 0;
}

static int take_field(unsigned id, const uint8_t *bytes, size_t length,
		      const struct zip_member *member, struct zip_sizes *sizes,
		      struct reason *reason)
{
	if (id == 0x0001 && (sizes->wide || !take_wide(bytes, length, sizes)))
		return disagree(member, "zip64 sizes are malformed", reason);
	if (id == 0x7075 && !is_same_name(bytes, length, member))
		return disagree(member, "extra field gives it another name", reason);
	if (id == 0x9901) {
		int result = reason_set(reason, EBADMSG, "archive_encrypted",
					"the entry is encrypted; pack it without a password");

		reason_name_entry(reason, member->name, member->name_length);
		return result;
	}
	return 0;
}

int zipfield_extra(const uint8_t *bytes, size_t length, const struct zip_member *member,
		   struct zip_sizes *sizes, struct reason *reason)
{
	size_t at = 0;
	int result = 0;

	while (result == 0 && length - at >= 4) {
		size_t size = zipfield_u16(bytes + at + 2);

		if (size > length - at - 4)
			return disagree(member, "extra fields are malformed", reason);
		result = take_field(zipfield_u16(bytes + at), bytes + at + 4, size, member, sizes,
				    reason);
		at += 4 + size;
	}
	/* Tools that align the data pad with less than a field of zeros. */
	for (; result == 0 && at < length; at++) {
		if (bytes[at] != 0)
			return disagree(member, "extra fields are malformed", reason);
	}
	return result;
}

/* One of the four forms: with or without a signature, narrow or wide; it fills all the room. */
static bool descriptor_fits(const uint8_t *bytes, size_t length, const struct zip_member *member)
{
	for (size_t signature = 0; signature <= 4; signature += 4) {
		const uint8_t *at = bytes + signature;

		if (signature > 0 && (length < 4 || memcmp(bytes, "PK\7\10", 4) != 0))
			continue;
		if (length == signature + 12 && zipfield_u32(at) == member->crc &&
		    zipfield_u32(at + 4) == member->packed_size &&
		    zipfield_u32(at + 8) == member->size)
			return true;
		if (length == signature + 20 && zipfield_u32(at) == member->crc &&
		    zipfield_u64(at + 4) == member->packed_size &&
		    zipfield_u64(at + 12) == member->size)
			return true;
	}
	return false;
}

static int judge_descriptor(int fd, const struct zip_member *member, uint64_t next,
			    struct reason *reason)
{
	uint64_t end = member->data_offset + member->packed_size;
	uint8_t bytes[DESCRIPTOR_MAX];
	int result = 0;

	if (next - end <= DESCRIPTOR_MAX)
		result = zipfield_read(fd, end, bytes, (size_t)(next - end), reason);
	if (result < 0)
		return result;
	if (next - end > DESCRIPTOR_MAX || !descriptor_fits(bytes, (size_t)(next - end), member))
		return disagree(member, "data descriptor and directory disagree", reason);
	return 0;
}

/* With a descriptor to come, the header may leave out what it does not know yet. */
static bool may_say(uint64_t said, uint64_t truth, bool later)
{
	return said == truth || (later && (said == 0 || said == UINT32_MAX));
}

static int judge_local(const uint8_t *header, const uint8_t *rest, size_t name_length,
		       size_t extra_length, const struct zip_member *member, struct reason *reason)
{
	uint16_t flags = zipfield_u16(header + 6);
	bool later = (flags & FLAG_DESCRIPTOR) != 0;
	struct zip_sizes sizes = {
	    .packed_size = zipfield_u32(header + 18),
	    .size = zipfield_u32(header + 22),
	};
	int result;

	if (name_length != member->name_length || memcmp(rest, member->name, name_length) != 0) {
		result = reason_set(reason, EINVAL, "entry_unsafe",
				    "the zip entry has two names, one in each of its headers");
		reason_name_entry(reason, member->name, member->name_length);
		return result;
	}
	/* Bits 1 and 2 are hints of the compressor, 11 is about the name's charset. */
	if ((flags & ~0x0806) != (member->flags & ~0x0806) ||
	    zipfield_u16(header + 8) != member->method)
		return disagree(member, "two headers disagree about its method", reason);
	result = zipfield_extra(rest + name_length, extra_length, member, &sizes, reason);
	if (result < 0)
		return result;
	if (!may_say(zipfield_u32(header + 14), member->crc, later) ||
	    !may_say(sizes.packed_size, member->packed_size, later) ||
	    !may_say(sizes.size, member->size, later))
		return disagree(member, "two headers disagree about its size or checksum", reason);
	return 0;
}

int zipfield_local(int fd, struct zip_member *member, uint64_t next, struct reason *reason)
{
	static uint8_t rest[2 * (size_t)UINT16_MAX];
	uint8_t header[LOCAL_SIZE];
	size_t name_length, extra_length;
	uint64_t room;
	int result;

	if (next < member->header_offset || next - member->header_offset < LOCAL_SIZE)
		return disagree(member, "place in the file is taken by another", reason);
	room = next - member->header_offset - LOCAL_SIZE;
	result = zipfield_read(fd, member->header_offset, header, sizeof(header), reason);
	if (result < 0)
		return result;
	name_length = zipfield_u16(header + 26);
	extra_length = zipfield_u16(header + 28);
	if (memcmp(header, "PK\3\4", 4) != 0)
		return disagree(member, "own header is not where the directory says", reason);
	if (name_length + extra_length > room ||
	    member->packed_size > room - name_length - extra_length)
		return disagree(member, "data overlaps another entry or the directory", reason);
	member->data_offset = member->header_offset + LOCAL_SIZE + name_length + extra_length;
	result = zipfield_read(fd, member->header_offset + LOCAL_SIZE, rest,
			       name_length + extra_length, reason);
	if (result == 0)
		result = judge_local(header, rest, name_length, extra_length, member, reason);
	if (result == 0 && (member->flags & FLAG_DESCRIPTOR) != 0)
		return judge_descriptor(fd, member, next, reason);
	if (result == 0 && member->data_offset + member->packed_size != next)
		return disagree(member, "data is followed by bytes that belong to no entry",
				reason);
	return result;
}

/* Inflates a raw deflate stream of which everything is at hand. Returns false if it is not whole.
 */
static bool inflate_whole(const uint8_t *packed, size_t packed_length, uint8_t *out,
			  size_t out_length)
{
	z_stream z = {.next_in = (Bytef *)packed, .avail_in = (uInt)packed_length};
	bool whole;

	z.next_out = out;
	z.avail_out = (uInt)out_length;
	if (inflateInit2(&z, -15) != Z_OK)
		return false;
	whole = inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_out == 0 && z.avail_in == 0;
	inflateEnd(&z);
	return whole;
}

int zipdir_link(int fd, const struct zip_member *member, char *target, size_t *ret_length,
		struct reason *reason)
{
	uint8_t packed[PACKED_TARGET_MAX];
	int result;

	if (member->size == 0 || member->size > TARGET_MAX ||
	    member->packed_size > PACKED_TARGET_MAX) {
		result =
		    reason_set(reason, EINVAL, "name_invalid",
			       "the link's target is empty or has more than %zu bytes", TARGET_MAX);
		reason_name_entry(reason, member->name, member->name_length);
		return result;
	}
	result =
	    zipfield_read(fd, member->data_offset, packed, (size_t)member->packed_size, reason);
	if (result < 0)
		return result;
	if (member->method == 0 && member->packed_size == member->size) {
		memcpy(target, packed, (size_t)member->size);
	} else if (member->method != 8 || !inflate_whole(packed, (size_t)member->packed_size,
							 (uint8_t *)target, (size_t)member->size)) {
		return disagree(member, "link target cannot be inflated", reason);
	}
	if (crc32(0, (const Bytef *)target, (uInt)member->size) != member->crc)
		return disagree(member, "checksum is wrong; copy the archive again", reason);
	target[member->size] = '\0';
	*ret_length = (size_t)member->size;
	if (memchr(target, 0, (size_t)member->size)) {
		result = reason_set(reason, EINVAL, "name_invalid",
				    "the link's target holds a NUL byte");
		reason_name_entry(reason, member->name, member->name_length);
		return result;
	}
	return 0;
}
