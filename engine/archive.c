/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the bytes of an archive to entries. libarchive reads what a walk (tar, cpio) or zipdir has
 * gone over before: exactly one format is enabled, no filter is, and anything that it returns but
 * OK and EOF is a failure. Both readings of the archive must agree, about where each entry
 * begins and how many there are, so that nothing can hide between them. Owns the counts of
 * entries and of their bytes, holes included. Refuses entries that are no file, directory or
 * link, and names that no filesystem holds; what a name means is judged in the daemon.
 */
#include "engine/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/codec.h"
#include "engine/walk.h"
#include "engine/zipdir.h"

#define COMPONENT_MAX ((size_t)255)
#define ZIP_BUFFER ((size_t)128 << 10)

/* The bytes that a format is recognised by. */
#define HEAD_SIZE ((size_t)512)

struct job {
	const struct decoder_limits *limits;
	const struct decoder_sink *sink;
	void *context;
	struct reason *reason;
	struct archive *archive;
	int failed; /* what a callback of libarchive ran into; the reason is filled in */
	uint64_t entries, inflated;
	bool may_be_sparse; /* tar: what libarchive leaves out is a hole */

	struct walk *walk;    /* tar and cpio */
	const uint8_t *first; /* its first piece, which was asked for before libarchive was */
	size_t first_length;

	int fd; /* zip */
	off_t offset, size;
	uint8_t *buffer;
};

/* Text of libarchive, which may quote the archive: printable, one line. */
static void copy_text(char *out, size_t size, const char *text)
{
	size_t used = 0;

	for (; text && text[used] && used + 1 < size; used++)
		out[used] = (char)(text[used] >= 0x20 && text[used] < 0x7f ? text[used] : '?');
	out[used] = '\0';
}

/* Why libarchive stopped: our own callback, or its own verdict. */
static int explain(struct job *job)
{
	char text[200];

	if (job->failed < 0)
		return job->failed;
	if (archive_errno(job->archive) == ENOMEM)
		return codec_out_of_memory("entries", job->reason);
	copy_text(text, sizeof(text), archive_error_string(job->archive));
	return reason_set(job->reason, EBADMSG, "archive_corrupt",
			  "the archive is damaged: %s; copy it again",
			  text[0] ? text : "it cannot be read on");
}

static int refuse(struct job *job, const struct decoder_entry *entry, int error, const char *code,
		  const char *message)
{
	int result = reason_set(job->reason, error, code, "%s", message);

	if (entry->path)
		reason_name_entry(job->reason, entry->path, entry->path_length);
	return result;
}

static int count_bytes(struct job *job, uint64_t length)
{
	if (length <= job->limits->inflated_bytes - job->inflated) {
		job->inflated += length;
		return 0;
	}
	return reason_set(job->reason, EFBIG, "inflated_too_large",
			  "the archive holds more than max_inflated_bytes (%" PRIu64 ")",
			  job->limits->inflated_bytes);
}

static bool components_fit(const char *path, size_t length)
{
	size_t run = 0;

	for (size_t i = 0; i < length; i++) {
		run = path[i] == '/' ? 0 : run + 1;
		if (run > COMPONENT_MAX)
			return false;
	}
	return true;
}

/* Counts the entry, and announces it if its name is one. */
static int begin_entry(struct job *job, const struct decoder_entry *entry)
{
	bool link = entry->kind == DECODER_SYMLINK || entry->kind == DECODER_HARDLINK;

	if (++job->entries > job->limits->entries)
		return reason_set(job->reason, EFBIG, "too_many_entries",
				  "the archive has more than max_entries (%" PRIu64 ") entries",
				  job->limits->entries);
	if (!entry->path || entry->path_length == 0)
		return refuse(job, entry, EINVAL, "name_invalid", "an entry has no name");
	if (entry->path_length > WALK_NAME_MAX)
		return refuse(job, entry, EINVAL, "name_invalid",
			      "the entry's path has more than 4095 bytes");
	if (!components_fit(entry->path, entry->path_length))
		return refuse(job, entry, EINVAL, "name_invalid",
			      "a name in the entry's path has more than 255 bytes");
	if (link &&
	    (!entry->target || entry->target_length == 0 || entry->target_length > WALK_NAME_MAX))
		return refuse(job, entry, EINVAL, "name_invalid",
			      "the link's target is empty or has more than 4095 bytes");
	return job->sink->entry(job->context, entry, job->reason);
}

static int send_zeros(struct job *job, uint64_t length)
{
	static const uint8_t zeros[64 << 10];
	int result = count_bytes(job, length);

	while (result == 0 && length > 0) {
		size_t part = length < sizeof(zeros) ? (size_t)length : sizeof(zeros);

		result = job->sink->data(job->context, zeros, part, job->reason);
		length -= part;
	}
	return result;
}

/* The body of the current entry; `size` is what it must come to, holes included. */
static int send_body(struct job *job, const struct decoder_entry *entry, uint64_t size)
{
	uint64_t position = 0;

	for (;;) {
		const void *bytes;
		size_t length;
		la_int64_t offset;
		int result = archive_read_data_block(job->archive, &bytes, &length, &offset);

		if (result == ARCHIVE_EOF)
			break;
		if (result != ARCHIVE_OK) {
			result = explain(job);
			reason_name_entry(job->reason, entry->path, entry->path_length);
			return result;
		}
		if (offset < 0 || (uint64_t)offset < position || (uint64_t)offset > size ||
		    length > size - (uint64_t)offset)
			return refuse(job, entry, EBADMSG, "archive_corrupt",
				      "the entry holds other than its header says");
		result = send_zeros(job, (uint64_t)offset - position);
		if (result == 0)
			result = count_bytes(job, length);
		if (result == 0 && length > 0)
			result = job->sink->data(job->context, bytes, length, job->reason);
		if (result < 0)
			return result;
		position = (uint64_t)offset + length;
	}
	if (position < size && !job->may_be_sparse)
		return refuse(job, entry, EBADMSG, "archive_corrupt",
			      "the entry holds less than its header says");
	return send_zeros(job, size - position);
}

/* Tar and cpio: what libarchive says about the entry. */
static int describe(struct job *job, struct archive_entry *from, struct decoder_entry *entry)
{
	mode_t type = archive_entry_filetype(from);
	const char *link = archive_entry_hardlink(from);

	entry->path = archive_entry_pathname(from);
	entry->path_length = entry->path ? strlen(entry->path) : 0;
	entry->executable = (archive_entry_perm(from) & 0111) != 0;
	if (type == AE_IFDIR) {
		entry->kind = DECODER_DIR;
		return 0;
	}
	if (type == AE_IFLNK) {
		entry->kind = DECODER_SYMLINK;
		entry->target = archive_entry_symlink(from);
	} else if (link && (type == AE_IFREG || type == 0)) {
		entry->kind = DECODER_HARDLINK;
		entry->target = link;
	} else if (type == AE_IFREG) {
		entry->kind = DECODER_FILE;
	} else {
		return refuse(job, entry, EINVAL, "entry_unsupported",
			      "the entry is a device, a fifo, a socket or of no known type");
	}
	entry->target_length = entry->target ? strlen(entry->target) : 0;
	return 0;
}

static int deliver(struct job *job, struct archive_entry *from)
{
	struct decoder_entry entry = {0};
	int64_t size = archive_entry_size(from);
	int result = describe(job, from, &entry);

	if (result == 0)
		result = begin_entry(job, &entry);
	if (result == 0 && (entry.kind == DECODER_FILE || entry.kind == DECODER_HARDLINK))
		result = send_body(job, &entry, size > 0 ? (uint64_t)size : 0);
	return result == 0 ? job->sink->end(job->context, job->reason) : result;
}

/* Gives libarchive the walk's next piece. */
static la_ssize_t read_walk(struct archive *archive, void *context, const void **ret_bytes)
{
	struct job *job = context;
	const uint8_t *bytes = job->first;
	size_t length = job->first_length;

	job->first_length = 0;
	if (length == 0)
		job->failed = walk_next(job->walk, &bytes, &length, job->reason);
	if (job->failed < 0) {
		archive_set_error(archive, EIO, "refused");
		return -1;
	}
	*ret_bytes = bytes;
	return (la_ssize_t)length;
}

/* Both readers must have come to the same entry. */
static bool readings_agree(const struct job *job)
{
	return (uint64_t)archive_read_header_position(job->archive) == job->walk->header &&
	       job->entries + 1 == job->walk->headers;
}

/* libarchive has seen the last entry: has the walk? */
static int finish_walk(struct job *job)
{
	const uint8_t *bytes;
	size_t length = 0;
	int result = walk_next(job->walk, &bytes, &length, job->reason);

	if (result == 0 && (length > 0 || job->entries != job->walk->headers))
		return reason_set(job->reason, EBADMSG, "archive_corrupt",
				  "two readings of the archive find different entries in it");
	return result;
}

static int read_entries(struct job *job)
{
	for (;;) {
		struct archive_entry *entry;
		int result = archive_read_next_header(job->archive, &entry);

		if (result == ARCHIVE_EOF)
			return finish_walk(job);
		if (result != ARCHIVE_OK)
			return explain(job);
		if (!readings_agree(job))
			return reason_set(job->reason, EBADMSG, "archive_corrupt",
					  "two readings of the archive find different entries in "
					  "it");
		result = deliver(job, entry);
		if (result < 0)
			return result;
	}
}

static int run_walk(struct job *job, bool tar)
{
	int result = walk_next(job->walk, &job->first, &job->first_length, job->reason);

	/* An archive of no entries ends at once, and libarchive would not know it for one. */
	if (result < 0 || job->first_length == 0)
		return result;
	job->archive = archive_read_new();
	if (!job->archive)
		return codec_out_of_memory("entries", job->reason);
	result = tar ? archive_read_support_format_tar(job->archive)
		     : archive_read_support_format_cpio(job->archive);
	if (result == ARCHIVE_OK)
		result = archive_read_open(job->archive, job, NULL, read_walk, NULL);
	result = result == ARCHIVE_OK ? read_entries(job) : explain(job);
	archive_read_free(job->archive);
	return result;
}

static int refuse_format(const uint8_t *head, size_t length, const char *filter,
			 struct reason *reason)
{
	const char *inner = codec_name_by_magic(head, length);

	if (!inner && zipdir_matches(head, length))
		inner = "a zip archive";
	if (inner)
		return reason_set(reason, EBADMSG, "archive_unsupported",
				  "there is %s inside %s; only one layer is accepted", inner,
				  filter ? filter : "something else");
	return reason_set(reason, EBADMSG, "archive_unsupported",
			  "this is not a tar, cpio or zip archive, plain or compressed with gzip, "
			  "bzip2, xz, zstd or lz4");
}

/* A tar archive of no entries is nothing but zeros; many other things begin with some. */
static int judge_zeros(struct codec *codec, struct reason *reason)
{
	const uint8_t *bytes;
	size_t length;

	for (;;) {
		int result = codec_peek(codec, 1, &bytes, &length, reason);

		if (result < 0)
			return result;
		if (length == 0)
			return reason_set(reason, EBADMSG, "archive_empty",
					  "the archive holds nothing but zeros");
		if (bytes[0] != 0 || memcmp(bytes, bytes + 1, length - 1) != 0)
			return refuse_format(bytes, 0, NULL, reason);
		codec_consume(codec, length);
	}
}

static int decode_stream(struct job *job, int fd)
{
	struct codec *codec = NULL;
	const uint8_t *head;
	size_t length = 0;
	bool tar = false;
	int result = codec_open(fd, job->limits, &codec, job->reason);

	if (result == 0)
		result = codec_peek(codec, HEAD_SIZE, &head, &length, job->reason);
	if (result < 0) {
		codec_close(codec);
		return result;
	}
	if (length > 0 && head[0] == 0 && memcmp(head, head + 1, length - 1) == 0) {
		result = judge_zeros(codec, job->reason);
		codec_close(codec);
		return result;
	}
	/* A cpio header in octal could be the name of a tar entry, but only with its checksum. */
	tar = tarwalk_matches(head, length);
	job->may_be_sparse = tar;
	if (tar)
		job->walk = tarwalk_open(codec);
	else if (cpiowalk_matches(head, length))
		job->walk = cpiowalk_open(codec);
	else
		result = refuse_format(head, length, codec_name(codec), job->reason);
	if (result == 0)
		result =
		    job->walk ? run_walk(job, tar) : codec_out_of_memory("headers", job->reason);
	walk_close(job->walk);
	codec_close(codec);
	return result;
}

static la_ssize_t read_zip(struct archive *archive, void *context, const void **ret_bytes)
{
	struct job *job = context;
	ssize_t got;

	do {
		got = pread(job->fd, job->buffer, ZIP_BUFFER, job->offset);
	} while (got < 0 && errno == EINTR);
	if (got < 0) {
		job->failed = reason_set(job->reason, EIO, "decoder_failed",
					 "cannot read the spooled archive: %s", strerror(errno));
		archive_set_error(archive, EIO, "refused");
		return -1;
	}
	job->offset += got;
	*ret_bytes = job->buffer;
	return got;
}

static la_int64_t seek_zip(struct archive *archive, void *context, la_int64_t offset, int whence)
{
	struct job *job = context;

	(void)archive;
	if (whence == SEEK_CUR)
		offset += job->offset;
	else if (whence == SEEK_END)
		offset += job->size;
	if (offset < 0 || offset > job->size)
		return ARCHIVE_FATAL;
	job->offset = offset;
	return offset;
}

/* Without it libarchive would read through everything that lies between. */
static la_int64_t skip_zip(struct archive *archive, void *context, la_int64_t request)
{
	struct job *job = context;

	(void)archive;
	if (request > job->size - job->offset)
		request = job->size - job->offset;
	job->offset += request;
	return request;
}

/* Names, kinds and targets come from zipdir: they are what both headers say, byte by byte. */
static int deliver_member(struct job *job, const struct zip_member *member)
{
	char path[WALK_NAME_MAX + 1], target[WALK_NAME_MAX + 1];
	struct decoder_entry entry = {
	    .kind = member->kind,
	    .path = path,
	    .path_length = member->name_length,
	    .executable = member->executable,
	};
	int result = 0;

	memcpy(path, member->name, member->name_length);
	path[member->name_length] = '\0';
	if (member->kind == DECODER_SYMLINK) {
		result = zipdir_link(job->fd, member, target, &entry.target_length, job->reason);
		entry.target = target;
	}
	if (result == 0)
		result = begin_entry(job, &entry);
	if (result == 0 && member->kind == DECODER_FILE)
		result = send_body(job, &entry, member->size);
	return result == 0 ? job->sink->end(job->context, job->reason) : result;
}

static int read_members(struct job *job, const struct zipdir *dir)
{
	struct archive_entry *entry;
	int result;

	for (size_t i = 0; i < dir->count; i++) {
		result = archive_read_next_header(job->archive, &entry);
		if (result != ARCHIVE_OK)
			return explain(job);
		result = deliver_member(job, &dir->members[i]);
		if (result < 0)
			return result;
	}
	if (archive_read_next_header(job->archive, &entry) != ARCHIVE_EOF)
		return reason_set(job->reason, EBADMSG, "archive_corrupt",
				  "two readings of the archive find different entries in it");
	return 0;
}

static int open_zip(struct job *job)
{
	int result = archive_read_support_format_zip_seekable(job->archive);

	archive_read_set_callback_data(job->archive, job);
	archive_read_set_read_callback(job->archive, read_zip);
	archive_read_set_seek_callback(job->archive, seek_zip);
	archive_read_set_skip_callback(job->archive, skip_zip);
	return result == ARCHIVE_OK ? archive_read_open1(job->archive) : result;
}

static int run_zip(struct job *job, const struct zipdir *dir)
{
	int result;

	job->buffer = malloc(ZIP_BUFFER);
	job->archive = archive_read_new();
	if (!job->buffer || !job->archive)
		result = codec_out_of_memory("entries", job->reason);
	else
		result = open_zip(job) == ARCHIVE_OK ? read_members(job, dir) : explain(job);
	archive_read_free(job->archive);
	free(job->buffer);
	return result;
}

static int decode_zip(struct job *job, int fd)
{
	struct zipdir dir;
	int result = zipdir_read(fd, job->limits, &dir, job->reason);

	if (result == 0 && dir.count > 0) {
		job->fd = fd;
		job->size = (off_t)dir.file_size;
		result = run_zip(job, &dir);
	}
	zipdir_free(&dir);
	return result;
}

int archive_decode(int fd, const struct decoder_limits *limits, const struct decoder_sink *sink,
		   void *context, struct reason *reason)
{
	struct reason unwanted = {0};
	struct job job = {
	    .limits = limits,
	    .sink = sink,
	    .context = context,
	    .reason = reason ? reason : &unwanted,
	};
	uint8_t head[4];
	ssize_t got = pread(fd, head, sizeof(head), 0);

	if (got > 0 && zipdir_matches(head, (size_t)got))
		return decode_zip(&job, fd);
	return decode_stream(&job, fd);
}
