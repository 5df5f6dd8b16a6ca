/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log. Key: the offset of a line's first byte in the log, so that reading from anywhere
 * is one look-up. Lines are never changed and never deleted. A line that cannot be read keeps its
 * place and its length: what comes after it stays where it was.
 */
#include <errno.h>
#include <string.h>

#include "store/fault.h"
#include "store/private.h"
#include "store/row.h"
#include "store/rows.h"
#include "store/tables.h"

#define AUDIT_LAYOUT 1
#define LINE_MAX_BYTES (64 * 1024)

/* A line as it lies in the log. */
struct line {
	uint64_t start, length;
	const uint8_t *text; /* NULL: unreadable */
};

static void decode(const MDB_val *key, const MDB_val *value, struct line *line)
{
	struct row_view view;

	*line = (struct line){.start = be64_get(key->mv_data)};
	if (value->mv_size <= ROW_OVERHEAD)
		return;
	line->length = value->mv_size - ROW_OVERHEAD;
	if (row_open(&view, AUDIT_LAYOUT, key->mv_data, key->mv_size, value->mv_data,
		     value->mv_size) == 0)
		line->text = row_get_bytes(&view, line->length);
}

/* Where the log ends. Returns -ENOENT when it is empty, -EIO for a key that is none. */
static int last_line(MDB_cursor *cursor, struct line *line)
{
	MDB_val key, value;
	int error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_LAST));

	if (error)
		return error;
	if (key.mv_size != 8)
		return -EIO;
	decode(&key, &value, line);
	return 0;
}

int audit_append(MDB_txn *txn, const struct env *rows, const char *line, size_t length)
{
	uint8_t bytes[8], buffer[LINE_MAX_BYTES + ROW_OVERHEAD];
	MDB_val key = {.mv_size = sizeof(bytes), .mv_data = bytes}, value = {.mv_data = buffer};
	struct line last = {0};
	MDB_cursor *cursor;
	struct row row;
	int error;

	if (!length || length > LINE_MAX_BYTES)
		return -EINVAL;
	error = env_error(mdb_cursor_open(txn, rows->tables[ROWS_AUDIT], &cursor));
	if (error)
		return error;
	error = last_line(cursor, &last);
	if (!error || error == -ENOENT) {
		/* A damaged row may say that its line is empty: its key is taken nevertheless. */
		if (!error && !last.length)
			last.length = 1;
		be64_put(bytes, last.start + last.length);
		row_begin(&row, AUDIT_LAYOUT, buffer, sizeof(buffer));
		row_put_bytes(&row, line, length);
		error = row_seal(&row, bytes, sizeof(bytes));
		value.mv_size = row.length;
	}
	if (!error)
		error = env_error(mdb_cursor_put(cursor, &key, &value, MDB_APPEND));
	mdb_cursor_close(cursor);
	return error;
}

/* What an unreadable line reads as: JSON and white space, as long as the line was. */
static char filler(uint64_t at, uint64_t length)
{
	static const char text[] = "{\"event\":\"audit_unreadable\"";

	if (at + 1 == length)
		return '\n';
	if (length < sizeof(text) + 1)
		return ' ';
	if (at < sizeof(text) - 1)
		return text[at];
	return at + 2 == length ? '}' : ' ';
}

/* A damaged row that says that its line is empty: what it had reaches up to the next one. */
static int until_next(MDB_cursor *cursor, struct line *line)
{
	MDB_val key, value;
	int error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_NEXT));

	if (error)
		return error;
	if (key.mv_size != 8)
		return -EIO;
	line->length = be64_get(key.mv_data) - line->start;
	return 0;
}

/* The line that `offset` lies in, or the gap before the next one. Returns -ENOENT at the end. */
static int find_line(MDB_cursor *cursor, uint64_t offset, struct line *line)
{
	uint8_t bytes[8];
	MDB_val key = {.mv_size = sizeof(bytes), .mv_data = bytes}, value;
	uint64_t end = UINT64_MAX, gap = 0;
	int error;

	be64_put(bytes, offset);
	error = env_error(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE));
	if (error && error != -ENOENT)
		return error;
	if (!error && key.mv_size != sizeof(bytes))
		return -EIO;
	if (!error && be64_get(key.mv_data) == offset) {
		decode(&key, &value, line);
		return line->length ? 0 : until_next(cursor, line);
	}
	if (!error)
		end = be64_get(key.mv_data);
	error = env_error(mdb_cursor_get(cursor, &key, &value, error ? MDB_LAST : MDB_PREV));
	if (error && error != -ENOENT)
		return error;
	if (!error && key.mv_size != sizeof(bytes))
		return -EIO;
	if (!error) {
		decode(&key, &value, line);
		gap = line->start + line->length;
		if (offset < gap)
			return 0;
	}
	if (end == UINT64_MAX)
		return -ENOENT;
	*line = (struct line){.start = gap, .length = end - gap};
	return 0;
}

static size_t copy_line(const struct line *line, uint64_t offset, char *buffer, size_t size)
{
	uint64_t skip = offset - line->start, left = line->length - skip;
	size_t length = left < size ? (size_t)left : size;

	if (line->text) {
		memcpy(buffer, line->text + skip, length);
		return length;
	}
	for (size_t i = 0; i < length; i++)
		buffer[i] = filler(skip + i, line->length);
	return length;
}

static ssize_t read_lines(MDB_cursor *cursor, uint64_t offset, char *buffer, size_t size)
{
	size_t used = 0;

	while (used < size) {
		struct line line;
		int error = find_line(cursor, offset + used, &line);

		if (error == -ENOENT)
			break;
		if (error || line.length == 0)
			return used ? (ssize_t)used : -EIO;
		used += copy_line(&line, offset + used, buffer + used, size - used);
	}
	return (ssize_t)used;
}

static ssize_t guarded_read(MDB_cursor *cursor, uint64_t offset, char *buffer, size_t size)
{
	struct fault_guard guard;
	ssize_t result;

	if (sigsetjmp(fault_guard_enter(&guard), 0)) {
		fault_guard_leave(&guard);
		return -EIO;
	}
	result = read_lines(cursor, offset, buffer, size);
	fault_guard_leave(&guard);
	return result;
}

/* A cursor on the log in a snapshot of its own. */
static int open_cursor(struct store *store, MDB_txn **ret_txn, MDB_cursor **ret_cursor)
{
	int error = env_read_begin(&store->rows, ret_txn);

	if (error)
		return error;
	error = env_error(mdb_cursor_open(*ret_txn, store->rows.tables[ROWS_AUDIT], ret_cursor));
	if (error)
		env_read_end(&store->rows, *ret_txn);
	return error;
}

ssize_t rows_audit_read(struct store *store, uint64_t offset, char *buffer, size_t size)
{
	MDB_cursor *cursor;
	MDB_txn *txn;
	ssize_t result;
	int error = open_cursor(store, &txn, &cursor);

	if (error)
		return -EIO;
	result = guarded_read(cursor, offset, buffer, size);
	mdb_cursor_close(cursor);
	env_read_end(&store->rows, txn);
	return result;
}

static int guarded_last(MDB_cursor *cursor, struct line *line)
{
	struct fault_guard guard;
	int error;

	if (sigsetjmp(fault_guard_enter(&guard), 0)) {
		fault_guard_leave(&guard);
		return -EIO;
	}
	error = last_line(cursor, line);
	fault_guard_leave(&guard);
	return error;
}

int rows_audit_size(struct store *store, uint64_t *ret_size)
{
	struct line line = {0};
	MDB_cursor *cursor;
	MDB_txn *txn;
	int error = open_cursor(store, &txn, &cursor);

	if (error)
		return error;
	error = guarded_last(cursor, &line);
	mdb_cursor_close(cursor);
	env_read_end(&store->rows, txn);
	if (error && error != -ENOENT)
		return error;
	*ret_size = line.start + line.length;
	return 0;
}
