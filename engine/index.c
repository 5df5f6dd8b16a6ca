/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical index: one writer and one reader, which takes nothing but what the writer writes. Its
 * bytes are hashed to find the version, so any second spelling would be a second version of one tree.
 */
#include "engine/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char first_line[] = "#mtree\n";

/* ---- writing ---- */

struct text {
	char *bytes;
	size_t length, room;
};

static bool is_plain(unsigned char byte)
{
	return byte > 0x20 && byte < 0x7f && !strchr("#\\=*?[", byte);
}

static int make_room(struct text *text, size_t more)
{
	size_t wanted = text->room ? text->room : 4096;
	char *larger;

	while (wanted < text->length + more)
		wanted *= 2;
	if (wanted == text->room)
		return 0;
	larger = realloc(text->bytes, wanted);
	if (!larger)
		return -ENOMEM;
	text->bytes = larger;
	text->room = wanted;
	return 0;
}

static void put(struct text *text, const char *bytes)
{
	size_t length = strlen(bytes);

	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
}

static void put_escaped(struct text *text, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		if (is_plain(byte)) {
			text->bytes[text->length++] = (char)byte;
			continue;
		}
		text->bytes[text->length++] = '\\';
		text->bytes[text->length++] = (char)('0' + (byte >> 6));
		text->bytes[text->length++] = (char)('0' + ((byte >> 3) & 7));
		text->bytes[text->length++] = (char)('0' + (byte & 7));
	}
}

static void put_number(struct text *text, uint64_t number)
{
	char digits[21];
	size_t at = sizeof(digits) - 1;

	digits[at] = '\0';
	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	put(text, digits + at);
}

static int put_entry(struct text *text, const struct index_entry *entry)
{
	char hex[DIGEST_HEX + 1];
	int error = make_room(text, 4 * (entry->path_length + entry->target_length) + 256);

	if (error)
		return error;
	put(text, entry->path_length > 0 ? "./" : ".");
	put_escaped(text, entry->path, entry->path_length);
	switch (entry->kind) {
	case INDEX_DIR:
		put(text, " type=dir mode=0755");
		break;
	case INDEX_FILE:
		put(text, entry->executable ? " type=file mode=0755 size="
					    : " type=file mode=0644 size=");
		put_number(text, entry->size);
		put(text, " sha256=");
		put(text, digest_hex(&entry->digest, hex));
		break;
	case INDEX_LINK:
		put(text, " type=link mode=0777 link=");
		put_escaped(text, entry->target, entry->target_length);
		break;
	}
	put(text, "\n");
	return 0;
}

int index_emit(const struct index_entry *entries, size_t count, char **ret_text,
	       size_t *ret_length)
{
	struct text text = {0};
	int error = make_room(&text, sizeof(first_line));

	if (!error)
		put(&text, first_line);
	for (size_t i = 0; !error && i < count; i++)
		error = put_entry(&text, &entries[i]);
	if (error) {
		free(text.bytes);
		return error;
	}
	*ret_text = text.bytes;
	*ret_length = text.length;
	return 0;
}

/* ---- reading ---- */

static int damaged(const struct index_reader *reader, struct reason *reason, const char *what)
{
	return reason_set(reason, EBADMSG, "index_damaged", "line %lu of the index: %s",
			  reader->line, what);
}

int index_reader_open(struct index_reader *reader, char *text, size_t length,
		      struct reason *reason)
{
	*reader = (struct index_reader){.at = text, .end = text + length, .line = 1};
	if (length < sizeof(first_line) - 1 ||
	    memcmp(text, first_line, sizeof(first_line) - 1) != 0)
		return damaged(reader, reason, "it does not begin with #mtree");
	reader->at += sizeof(first_line) - 1;
	return 0;
}

/* Skips a fixed text. Returns whether it was there. */
static bool skip(struct index_reader *reader, const char *text)
{
	size_t length = strlen(text);

	if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, text, length) != 0)
		return false;
	reader->at += length;
	return true;
}

static int octal_byte(const char *digits)
{
	if (digits[0] < '0' || digits[0] > '3' || digits[1] < '0' || digits[1] > '7' ||
	    digits[2] < '0' || digits[2] > '7')
		return -1;
	return (digits[0] - '0') << 6 | (digits[1] - '0') << 3 | (digits[2] - '0');
}

/* Unescapes up to `stop` in place. Returns the length, or -1 for a spelling that is not canonical. */
static ssize_t read_name(struct index_reader *reader, char stop)
{
	char *out = reader->at, *begin = reader->at;

	while (reader->at < reader->end && *reader->at != stop) {
		unsigned char byte = (unsigned char)*reader->at;
		int value = byte;

		if (byte == '\\') {
			if (reader->end - reader->at < 4)
				return -1;
			value = octal_byte(reader->at + 1);
			if (value <= 0 || is_plain((unsigned char)value))
				return -1;
			reader->at += 4;
		} else {
			if (!is_plain(byte))
				return -1;
			reader->at++;
		}
		*out++ = (char)value;
	}
	return reader->at < reader->end ? out - begin : -1;
}

static bool read_number(struct index_reader *reader, uint64_t *ret_number)
{
	const char *begin = reader->at;
	uint64_t number = 0;

	while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
		unsigned digit = (unsigned)(*reader->at++ - '0');

		if (number > (UINT64_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*ret_number = number;
	return reader->at > begin && (*begin != '0' || reader->at == begin + 1);
}

static bool read_digest(struct index_reader *reader, struct digest *ret_digest)
{
	if (reader->end - reader->at < DIGEST_HEX ||
	    digest_parse(reader->at, DIGEST_HEX, ret_digest) != 0)
		return false;
	reader->at += DIGEST_HEX;
	return true;
}

static int read_attributes(struct index_reader *reader, struct index_entry *entry,
			   struct reason *reason)
{
	ssize_t length;

	if (skip(reader, " type=dir mode=0755")) {
		entry->kind = INDEX_DIR;
	} else if (skip(reader, " type=file mode=0")) {
		entry->kind = INDEX_FILE;
		entry->executable = skip(reader, "755");
		if ((!entry->executable && !skip(reader, "644")) || !skip(reader, " size=") ||
		    !read_number(reader, &entry->size) || !skip(reader, " sha256=") ||
		    !read_digest(reader, &entry->digest))
			return damaged(reader, reason, "a file's attributes are malformed");
	} else if (skip(reader, " type=link mode=0777 link=")) {
		entry->kind = INDEX_LINK;
		entry->target = reader->at;
		length = read_name(reader, '\n');
		if (length <= 0 || length > INDEX_PATH_MAX)
			return damaged(reader, reason, "a link's target is malformed");
		entry->target_length = (size_t)length;
	} else {
		return damaged(reader, reason, "its type or mode is not one of the format");
	}
	return skip(reader, "\n") ? 0 : damaged(reader, reason, "it goes on where it must end");
}

static bool is_good_path(const char *path, size_t length)
{
	size_t part = 0;

	for (size_t i = 0; i <= length; i++) {
		if (i < length && path[i] != '/') {
			part++;
			continue;
		}
		if (part == 0 || part > INDEX_NAME_MAX || (part == 1 && path[i - 1] == '.') ||
		    (part == 2 && path[i - 1] == '.' && path[i - 2] == '.'))
			return false;
		part = 0;
	}
	return length <= INDEX_PATH_MAX;
}

static int compare_paths(const char *a, size_t a_length, const char *b, size_t b_length)
{
	int order = memcmp(a, b, a_length < b_length ? a_length : b_length);

	if (order)
		return order;
	return a_length < b_length ? -1 : a_length > b_length;
}

static int read_path(struct index_reader *reader, struct index_entry *entry,
		     struct reason *reason)
{
	ssize_t length;

	if (reader->line == 2)
		return skip(reader, ".") ? 0 : damaged(reader, reason, "the root is missing");
	if (!skip(reader, "./"))
		return damaged(reader, reason, "a path does not begin with ./");
	entry->path = reader->at;
	length = read_name(reader, ' ');
	if (length <= 0 || !is_good_path(entry->path, (size_t)length))
		return damaged(reader, reason, "a path is malformed");
	entry->path_length = (size_t)length;
	if (compare_paths(reader->previous_path, reader->previous_length, entry->path,
			  entry->path_length) >= 0)
		return damaged(reader, reason, "paths are out of order");
	return 0;
}

int index_reader_next(struct index_reader *reader, struct index_entry *ret_entry,
		      struct reason *reason)
{
	int error;

	if (reader->at == reader->end)
		return reader->line > 1 ? 0 : damaged(reader, reason, "the root is missing");
	reader->line++;
	*ret_entry = (struct index_entry){.path = ""};
	error = read_path(reader, ret_entry, reason);
	if (!error)
		error = read_attributes(reader, ret_entry, reason);
	if (!error && reader->line == 2 && ret_entry->kind != INDEX_DIR)
		error = damaged(reader, reason, "the root is no directory");
	if (error)
		return error;
	reader->previous_path = ret_entry->path;
	reader->previous_length = ret_entry->path_length;
	return 1;
}
