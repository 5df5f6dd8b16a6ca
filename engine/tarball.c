/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical archive of a version: ustar members in index order, laid out once and generated at
 * any offset, so that it can be served, copied and resumed without ever being stored.
 *
 *     [ x header | pax records, padded ]  only where ustar cannot say it
 *     header                              512 bytes
 *     contents, padded to 512             files
 *     ...
 *     two zero blocks
 *
 * Invariant: its bytes are a function of the index and the signature alone. What a header says
 * about owners, times and devices is zero; ustar's prefix field is never used, because there is
 * more than one way to split a path. Memory: 8 bytes for each node.
 */
#include "engine/tarball.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK		 512u
#define END_BYTES	 (2 * BLOCK)
#define NAME_FIELD	 100u		     /* longer names and targets need a pax record */
#define SIZE_FIELD_LIMIT (UINT64_C(1) << 33) /* eleven octal digits: sizes from 8 GiB need one */
#define RECORD_EXTRA	 32u /* a record's length, spaces, keyword, '=' and newline */

/* The longest literal run: an x header, four records padded to whole blocks, a header. */
_Static_assert(BLOCK + 2 * (INDEX_PATH_MAX + 1) + 4 * RECORD_EXTRA + 32 + BLOCK + BLOCK <=
		       TARBALL_HEADER_MAX,
	       "a header does not fit");

struct tarball {
	const struct tree *tree;
	bool has_signature;
	struct digest signature;
	uint64_t signature_bytes;
	uint32_t members;  /* the nodes, the root included, and the signature */
	uint64_t *offsets; /* where each begins; one more for the end of the last */
};

/* One member as its headers describe it. */
struct member {
	char path[INDEX_PATH_MAX + 2]; /* a directory's ends with a slash */
	size_t path_length;
	const char *target;
	size_t target_length;
	uint64_t size;
	unsigned mode;
	char type;
};

/* ustar's header, as POSIX lays it out (pax(1), "ustar Interchange Format"). */
struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
	char linkname[100], magic[6], version[2], uname[32], gname[32], devmajor[8], devminor[8];
	char prefix[155], padding[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

static uint64_t padded(uint64_t length)
{
	return (length + BLOCK - 1) / BLOCK * BLOCK;
}

/* ---- one member ---- */

static void describe_signature(const struct tarball *tarball, struct member *member)
{
	strcpy(member->path, "manifest.sig");
	member->path_length = strlen(member->path);
	member->size = tarball->signature_bytes;
	member->mode = 0644;
	member->type = '0';
}

static void describe_node(const struct tarball *tarball, uint32_t number, struct member *member)
{
	const struct tree_node *node = tree_node(tarball->tree, number);

	member->path_length = tree_path(tarball->tree, number, member->path, sizeof(member->path));
	switch ((enum index_kind)node->kind) {
	case INDEX_DIR:
		member->path[member->path_length++] = '/';
		member->mode = 0755;
		member->type = '5';
		break;
	case INDEX_FILE:
		member->size = node->size;
		member->mode = node->executable ? 0755 : 0644;
		member->type = '0';
		break;
	case INDEX_LINK:
		member->target = node->target;
		member->target_length = node->target_length;
		member->mode = 0777;
		member->type = '2';
		break;
	}
}

static void describe(const struct tarball *tarball, uint32_t number, struct member *member)
{
	member->target = "";
	member->target_length = 0;
	member->size = 0;
	if (number < tree_count(tarball->tree))
		describe_node(tarball, number, member);
	else
		describe_signature(tarball, member);
}

/* Bytes of a file that follow its headers; the rest has none. */
static uint64_t content_size(const struct tarball *tarball, uint32_t number)
{
	const struct tree_node *node;

	if (number >= tree_count(tarball->tree))
		return tarball->signature_bytes;
	node = tree_node(tarball->tree, number);
	return node->kind == INDEX_FILE ? node->size : 0;
}

/* ---- pax records ---- */

static size_t put_decimal(char *out, uint64_t number)
{
	char digits[20];
	size_t count = 0;

	do {
		digits[count++] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	for (size_t i = 0; i < count; i++)
		out[i] = digits[count - 1 - i];
	return count;
}

/*
 * Writes "LENGTH KEYWORD=VALUE\n", where the length counts itself. `out` may be NULL.
 * Returns how long that is.
 */
static size_t put_record(char *out, const char *keyword, const char *value, size_t length)
{
	size_t keyword_length = strlen(keyword), rest = 3 + keyword_length + length;
	size_t total = rest + 1;
	char digits[20];

	while (total != rest + put_decimal(digits, total))
		total = rest + put_decimal(digits, total);
	if (!out)
		return total;
	out += put_decimal(out, total);
	*out++ = ' ';
	out = mempcpy(out, keyword, keyword_length);
	*out++ = '=';
	out = mempcpy(out, value, length);
	*out = '\n';
	return total;
}

/* The length of the UTF-8 character at `bytes`, 0 when there is none (RFC 3629). */
static size_t utf8_length(const unsigned char *bytes, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = 0; /* the leading ones of the first byte */
	uint32_t code;

	while (length < 5 && (bytes[0] & (0x80 >> length)))
		length++;
	if (length == 0)
		return 1;
	if (length == 1 || length > 4 || length > left)
		return 0;
	code = bytes[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (bytes[i] & 0x3f);
	}
	if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return length;
}

static bool is_utf8(const char *bytes, size_t length)
{
	size_t at = 0, step;

	for (; at < length; at += step) {
		step = utf8_length((const unsigned char *)bytes + at, length - at);
		if (step == 0)
			return false;
	}
	return true;
}

/*
 * Writes the records that a member needs. The values of pax records are UTF-8; hdrcharset says of
 * others that they are the bytes as they are, because libarchive refuses them without it.
 * `out` may be NULL. Returns the records' length, 0 for a member that needs none.
 */
static size_t put_records(char *out, const struct member *member)
{
	bool long_path = member->path_length > NAME_FIELD;
	bool long_target = member->target_length > NAME_FIELD;
	size_t length = 0;
	char size[20];

	if ((long_path && !is_utf8(member->path, member->path_length)) ||
	    (long_target && !is_utf8(member->target, member->target_length)))
		length += put_record(out, "hdrcharset", "BINARY", strlen("BINARY"));
	if (long_path)
		length += put_record(out ? out + length : NULL, "path", member->path,
				     member->path_length);
	if (long_target)
		length += put_record(out ? out + length : NULL, "linkpath", member->target,
				     member->target_length);
	if (member->size >= SIZE_FIELD_LIMIT)
		length += put_record(out ? out + length : NULL, "size", size,
				     put_decimal(size, member->size));
	return length;
}

/* ---- headers ---- */

/* Octal digits, zero-filled, and a NUL. */
static void put_octal(char *field, size_t size, uint64_t number)
{
	for (size_t i = size - 1; i > 0; i--) {
		field[i - 1] = (char)('0' + (number & 7));
		number >>= 3;
	}
}

static void put_field(char *field, size_t size, const char *bytes, size_t length)
{
	memcpy(field, bytes, length < size ? length : size);
}

static void put_checksum(struct header *header)
{
	const unsigned char *bytes = (const unsigned char *)header;
	unsigned sum = 0;

	memset(header->checksum, ' ', sizeof(header->checksum));
	for (size_t i = 0; i < sizeof(*header); i++)
		sum += bytes[i];
	put_octal(header->checksum, 7, sum);
	header->checksum[6] = '\0';
}

/* A size that does not fit is 0 here: its pax record replaces it. A name that does not is cut. */
static void put_header(char *out, const struct member *member)
{
	uint64_t size = member->size < SIZE_FIELD_LIMIT ? member->size : 0;
	struct header header = {.type = member->type};

	put_field(header.name, sizeof(header.name), member->path, member->path_length);
	put_field(header.linkname, sizeof(header.linkname), member->target, member->target_length);
	put_octal(header.mode, sizeof(header.mode), member->mode);
	put_octal(header.uid, sizeof(header.uid), 0);
	put_octal(header.gid, sizeof(header.gid), 0);
	put_octal(header.size, sizeof(header.size), size);
	put_octal(header.mtime, sizeof(header.mtime), 0);
	memcpy(header.magic, "ustar", sizeof(header.magic));
	memcpy(header.version, "00", sizeof(header.version));
	put_checksum(&header);
	memcpy(out, &header, sizeof(header));
}

static uint64_t headers_length(const struct member *member)
{
	size_t records = put_records(NULL, member);

	return records > 0 ? BLOCK + padded(records) + BLOCK : BLOCK;
}

static void put_headers(char *out, const struct member *member)
{
	struct member pax = {.path = "././@PaxHeader",
			     .path_length = strlen("././@PaxHeader"),
			     .target = "",
			     .type = 'x'};

	pax.size = put_records(NULL, member);
	if (pax.size > 0) {
		put_header(out, &pax);
		memset(out + BLOCK, 0, padded(pax.size));
		put_records(out + BLOCK, member);
		out += BLOCK + padded(pax.size);
	}
	put_header(out, member);
}

/* ---- the whole ---- */

static int lay_out(struct tarball *tarball)
{
	struct member member;
	uint64_t at = 0;

	for (uint32_t i = 1; i < tarball->members; i++) {
		uint64_t size = content_size(tarball, i);

		tarball->offsets[i] = at;
		describe(tarball, i, &member);
		at += headers_length(&member);
		/* Sizes come out of an index: their sum must stay an offset of a file. */
		if (size > INT64_MAX - BLOCK - END_BYTES - TARBALL_HEADER_MAX ||
		    at > INT64_MAX - BLOCK - END_BYTES - TARBALL_HEADER_MAX - size)
			return -EFBIG;
		at += padded(size);
	}
	tarball->offsets[tarball->members] = at;
	return 0;
}

int tarball_new(const struct tree *tree, const struct digest *signature, uint64_t signature_bytes,
		struct tarball **ret_tarball)
{
	struct tarball *tarball = calloc(1, sizeof(*tarball));
	int error;

	if (!tarball)
		return -ENOMEM;
	tarball->tree = tree;
	tarball->members = tree_count(tree);
	if (signature) {
		tarball->signature = *signature;
		tarball->signature_bytes = signature_bytes;
		tarball->members++;
	}
	tarball->offsets = calloc((size_t)tarball->members + 1, sizeof(*tarball->offsets));
	error = tarball->offsets ? lay_out(tarball) : -ENOMEM;
	if (error) {
		tarball_free(tarball);
		return error;
	}
	*ret_tarball = tarball;
	return 0;
}

void tarball_free(struct tarball *tarball)
{
	if (!tarball)
		return;
	free(tarball->offsets);
	free(tarball);
}

uint64_t tarball_size(const struct tarball *tarball)
{
	return tarball->offsets[tarball->members] + END_BYTES;
}

/* The member that an offset falls into; the root takes no room, so it is never that. */
static uint32_t find_member(const struct tarball *tarball, uint64_t offset)
{
	uint32_t low = 1, high = tarball->members;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (tarball->offsets[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void literal_zeros(uint64_t length, char *buffer, struct tarball_segment *ret_segment)
{
	*ret_segment = (struct tarball_segment){.source = TARBALL_LITERAL, .length = length};
	memset(buffer, 0, length);
}

static void literal_headers(const struct member *member, uint64_t skip, char *buffer,
			    struct tarball_segment *ret_segment)
{
	uint64_t length = headers_length(member) - skip;

	*ret_segment = (struct tarball_segment){.source = TARBALL_LITERAL, .length = length};
	put_headers(buffer, member);
	memmove(buffer, buffer + skip, length);
}

static void content(const struct tarball *tarball, uint32_t number, uint64_t offset,
		    struct tarball_segment *ret_segment)
{
	bool is_node = number < tree_count(tarball->tree);
	uint64_t size = content_size(tarball, number);

	*ret_segment = (struct tarball_segment){
		.source = TARBALL_CONTENT,
		.length = size - offset,
		.offset = offset,
		.node = is_node ? number : UINT32_MAX,
		.digest = is_node ? tree_node(tarball->tree, number)->digest : tarball->signature,
		.size = size,
	};
}

int tarball_segment(const struct tarball *tarball, uint64_t offset, char buffer[TARBALL_HEADER_MAX],
		    struct tarball_segment *ret_segment)
{
	uint64_t size = tarball_size(tarball), headers, contents;
	struct member member;
	uint32_t number;

	if (offset >= size)
		return -ERANGE;
	if (offset >= size - END_BYTES) {
		literal_zeros(size - offset, buffer, ret_segment);
		return 0;
	}
	number = find_member(tarball, offset);
	offset -= tarball->offsets[number];
	describe(tarball, number, &member);
	headers = headers_length(&member);
	contents = content_size(tarball, number);
	if (offset < headers)
		literal_headers(&member, offset, buffer, ret_segment);
	else if (offset - headers < contents)
		content(tarball, number, offset - headers, ret_segment);
	else
		literal_zeros(headers + padded(contents) - offset, buffer, ret_segment);
	return 0;
}
