/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side of the decoder: that the process is walled in, that its end in any way is a
 * refusal and never more, that a cancel and an error of the sink end it, and that frames which an
 * honest decoder would not write are not believed.
 */
#include "tests/engine/decoding.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine/frame_reader.h"

/* An archive that does not fit into the pipe: its decoder waits for the reader. */
static void build_large(struct builder *tar)
{
	builder_tar_header(tar, '0', "large", NULL, 8 << 20);
	builder_add_zeros(tar, 8 << 20);
	builder_tar_file(tar, "second", "text");
	builder_tar_end(tar);
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void expect_no_child(void)
{
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
	cr_assert_eq(errno, ECHILD);
}

Test(decoder, leaves_nothing_behind)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder tar = {0}, cut = {0};
	int before;

	builder_tar_file(&cut, "f", "text");
	expect_refusal(&cut, EBADMSG, "archive_truncated");
	before = count_descriptors();
	build_large(&tar);
	cr_assert_eq(decode(&decoding, &tar), 0, "%s", decoding.reason.message);
	cr_assert_str_eq(decoding.text, "file large x (8388608)\nfile second x text\n");
	builder_tar_file(&cut, "f", "text");
	expect_refusal(&cut, EBADMSG, "archive_truncated");
	cr_assert_eq(count_descriptors(), before);
	expect_no_child();
}

Test(decoder, does_not_move_the_offset)
{
	static const struct decoder_sink sink = {
	    .entry = decoding_entry, .data = decoding_data, .end = decoding_end};
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder tar = {0};
	int fd;

	builder_tar_file(&tar, "f", "text");
	builder_tar_end(&tar);
	fd = builder_file(&tar);
	builder_free(&tar);
	decoder_set_program(getenv("AIONFS_DECODER"));
	lseek(fd, 7, SEEK_SET);
	cr_assert_eq(decoder_run(fd, &decoding.limits, &sink, &decoding, NULL, NULL), 0);
	cr_assert_eq(lseek(fd, 0, SEEK_CUR), 7);
	close(fd);
}

struct walls {
	struct decoding decoding;
	bool seen;
	char status[4096];
};

static void read_text(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "re");
	size_t length = file ? fread(text, 1, size - 1, file) : 0;

	text[length] = '\0';
	if (file)
		fclose(file);
}

/* The process waits for us to read, and has met the archive: its walls are up. */
static int look_at_walls(void *context, const struct decoder_entry *entry, struct reason *reason)
{
	struct walls *walls = context;
	char path[64], children[128];
	long pid;

	(void)entry;
	(void)reason;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	read_text(path, children, sizeof(children));
	pid = strtol(children, NULL, 10);
	if (pid <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%ld/status", pid);
	read_text(path, walls->status, sizeof(walls->status));
	walls->seen = true;
	return 0;
}

static int ignore_data(void *context, const void *bytes, size_t length, struct reason *reason)
{
	(void)context;
	(void)bytes;
	(void)length;
	(void)reason;
	return 0;
}

static int ignore_end(void *context, struct reason *reason)
{
	(void)context;
	(void)reason;
	return 0;
}

Test(decoder, is_walled_in)
{
	static const struct decoder_sink sink = {
	    .entry = look_at_walls, .data = ignore_data, .end = ignore_end};
	static struct walls walls = {.decoding = {.limits = DECODING_LIMITS}};
	struct builder tar = {0};
	int fd;

	build_large(&tar);
	fd = builder_file(&tar);
	builder_free(&tar);
	decoder_set_program(getenv("AIONFS_DECODER"));
	cr_assert_eq(decoder_run(fd, &walls.decoding.limits, &sink, &walls, NULL, NULL), 0);
	close(fd);
	if (!walls.seen)
		cr_skip_test("this kernel does not list the children of a process");
	cr_assert_not_null(strstr(walls.status, "Seccomp:\t2"), "%s", walls.status);
	cr_assert_not_null(strstr(walls.status, "NoNewPrivs:\t1"), "%s", walls.status);
	cr_assert_not_null(strstr(walls.status, "CapEff:\t0000000000000000"), "%s", walls.status);
	if (geteuid() == 0)
		cr_assert_not_null(strstr(walls.status, "Uid:\t65534\t65534\t65534\t65534"), "%s",
				   walls.status);
}

static int cancel_at_entry(void *context, const struct decoder_entry *entry, struct reason *reason)
{
	struct decoding *decoding = context;

	(void)entry;
	(void)reason;
	atomic_store(&decoding->cancel, true);
	return 0;
}

static int refuse_entry(void *context, const struct decoder_entry *entry, struct reason *reason)
{
	(void)context;
	(void)entry;
	return reason_set(reason, ENOSPC, "store_full", "no room");
}

static int run_large(struct decoding *decoding, const struct decoder_sink *sink)
{
	struct builder tar = {0};
	int fd, result;

	build_large(&tar);
	fd = builder_file(&tar);
	builder_free(&tar);
	decoder_set_program(getenv("AIONFS_DECODER"));
	result = decoder_run(fd, &decoding->limits, sink, decoding, &decoding->cancel,
			     &decoding->reason);
	close(fd);
	expect_no_child();
	return result;
}

Test(decoder, can_be_cancelled)
{
	static const struct decoder_sink sink = {
	    .entry = cancel_at_entry, .data = ignore_data, .end = ignore_end};
	struct decoding decoding = {.limits = DECODING_LIMITS};

	cr_assert_eq(run_large(&decoding, &sink), -EINTR);
	cr_assert_str_eq(decoding.reason.code, "interrupted");
}

Test(decoder, stops_at_an_error_of_the_sink)
{
	static const struct decoder_sink sink = {
	    .entry = refuse_entry, .data = ignore_data, .end = ignore_end};
	struct decoding decoding = {.limits = DECODING_LIMITS};

	cr_assert_eq(run_large(&decoding, &sink), -ENOSPC);
	cr_assert_str_eq(decoding.reason.code, "store_full");
	cr_assert_str_eq(decoding.reason.message, "no room");
}

/* Gigabytes of zeros, of which one second does not see the end. */
Test(decoder, has_a_limit_of_time)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder member = {0}, bomb = {0};

	builder_add_zeros(&member, 64 << 20);
	builder_gzip(&member);
	for (int i = 0; i < 400; i++)
		builder_add(&bomb, member.bytes, member.length);
	builder_free(&member);
	decoding.limits.inflated_bytes = UINT64_MAX;
	decoding.limits.archive_bytes = UINT64_MAX;
	decoding.limits.cpu_seconds = 1;
	cr_assert_eq(decode(&decoding, &bomb), -EBADMSG, "%s", decoding.reason.message);
	cr_assert_str_eq(decoding.reason.code, "archive_corrupt");
	cr_assert_not_null(strstr(decoding.reason.message, "CPU"), "%s", decoding.reason.message);
	expect_no_child();
}

/* A frame of zstd that wants a window of 128 MiB, in a process that may have 64. */
Test(decoder, has_a_limit_of_memory)
{
	static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0x00, 0x00};
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder zstd = {0};

#if defined(__SANITIZE_ADDRESS__)
	cr_skip_test("the address sanitizer needs the address space without a limit");
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
	cr_skip_test("the address sanitizer needs the address space without a limit");
#endif
#endif
	builder_add(&zstd, frame, sizeof(frame));
	decoding.limits.memory_bytes = 64 << 20;
	cr_assert_eq(decode(&decoding, &zstd), -EBADMSG);
	cr_assert_str_eq(decoding.reason.code, "archive_corrupt");
	cr_assert_not_null(strstr(decoding.reason.message, "memory"), "%s",
			   decoding.reason.message);
}

/* Runs this shell script in the decoder's place. */
static int run_instead(struct decoding *decoding, const char *script)
{
	static const struct decoder_sink sink = {
	    .entry = decoding_entry, .data = decoding_data, .end = decoding_end};
	char path[] = "/tmp/aionfs-decoder-XXXXXX";
	int file = mkstemp(path), null = open("/dev/null", O_RDONLY | O_CLOEXEC), result;

	cr_assert_geq(file, 0);
	cr_assert_eq(dprintf(file, "#!/bin/sh\n%s\n", script), (int)strlen(script) + 11);
	cr_assert_eq(fchmod(file, 0755), 0);
	close(file);
	decoder_set_program(path);
	result = decoder_run(null, &decoding->limits, &sink, decoding, &decoding->cancel,
			     &decoding->reason);
	unlink(path);
	close(null);
	expect_no_child();
	return result;
}

Test(decoder, any_death_is_a_refusal)
{
	static const struct {
		const char *script, *word;
	} cases[] = {
	    {"kill -SEGV $$", "crashed"},
	    {"kill -KILL $$", "killed"},
	    {"kill -XCPU $$", "CPU"},
	    {"kill -SYS $$", "kernel"},
	    {"exit 0", "gave up"},
	    {"exit 3", "gave up"},
	    {"echo not a frame at all, not at all", "makes no sense"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct decoding decoding = {.limits = DECODING_LIMITS};

		cr_assert_eq(run_instead(&decoding, cases[i].script), -EBADMSG);
		cr_assert_str_eq(decoding.reason.code, "archive_corrupt");
		cr_assert_not_null(strstr(decoding.reason.message, cases[i].word), "%s: %s",
				   cases[i].script, decoding.reason.message);
	}
}

Test(decoder, gets_four_descriptors_and_no_environment)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};
	int leaked = open("/dev/null", O_RDONLY); /* not close-on-exec */

	cr_assert_geq(leaked, 0);
	setenv("AIONFS_SECRET", "1", 1);
	/* Dies by a signal that tells it apart if it finds more than it should. */
	run_instead(&decoding,
		    "[ -z \"$AIONFS_SECRET\" ] || kill -KILL $$\n"
		    "for fd in 3 4 5 6 7 8 9; do\n"
		    "[ ! -e /proc/$$/fd/$fd ] || [ $fd = 3 ] || kill -KILL $$\ndone\n"
		    "readlink /proc/$$/fd/3 | grep -q memfd:aionfs-ring || kill -KILL $$\n"
		    "kill -SEGV $$");
	close(leaked);
	cr_assert_not_null(strstr(decoding.reason.message, "crashed"), "%s",
			   decoding.reason.message);
}

Test(decoder, a_silent_process_can_be_cancelled)
{
	struct decoding decoding = {.limits = DECODING_LIMITS, .cancel = true};

	cr_assert_eq(run_instead(&decoding, "exec sleep 1000"), -EINTR);
}

Test(decoder, a_missing_program_is_said)
{
	static const struct decoder_sink sink = {
	    .entry = decoding_entry, .data = decoding_data, .end = decoding_end};
	struct decoding decoding = {.limits = DECODING_LIMITS};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	decoder_set_program("/nonexistent/decoder");
	cr_assert_eq(decoder_run(null, &decoding.limits, &sink, &decoding, NULL, &decoding.reason),
		     -EIO);
	cr_assert_str_eq(decoding.reason.code, "decoder_failed");
	cr_assert_not_null(strstr(decoding.reason.message, "/nonexistent/decoder"));
	close(null);
}

/* Frames, as a process that was taken over might write them. */

static void add_frame(struct builder *frames, uint32_t type, uint32_t length)
{
	struct frame_header head = {.type = type, .length = length};

	builder_add(frames, &head, sizeof(head));
}

static void add_entry(struct builder *frames, uint32_t kind, const char *path, size_t path_length,
		      const char *target)
{
	struct frame_entry head = {.kind = kind,
				   .path_length = (uint32_t)path_length,
				   .target_length = (uint32_t)strlen(target)};

	add_frame(frames, FRAME_ENTRY, (uint32_t)(sizeof(head) + path_length + strlen(target)));
	builder_add(frames, &head, sizeof(head));
	builder_add(frames, path, path_length);
	builder_add(frames, target, strlen(target));
}

/* Feeds them, to a sink that has a room for them or to one that has none. */
static int feed_to(struct decoding *decoding, const struct builder *frames,
		   const struct decoder_sink *sink)
{
	struct frame_reader *reader = malloc(sizeof(*reader));
	int result;

	cr_assert_not_null(reader);
	frame_reader_init(reader, &decoding->limits, sink, decoding);
	result = frame_reader_take(reader, frames->bytes, frames->length, &decoding->reason);
	free(reader);
	return result;
}

static int feed(struct decoding *decoding, const struct builder *frames)
{
	static const struct decoder_sink sink = {
	    .entry = decoding_entry, .data = decoding_data, .end = decoding_end};

	return feed_to(decoding, frames, &sink);
}

static void expect_nonsense(struct builder *frames)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};

	cr_assert_eq(feed(&decoding, frames), -EBADMSG);
	cr_assert_str_eq(decoding.reason.code, "archive_corrupt");
	builder_free(frames);
}

static void add_some(struct builder *frames)
{
	add_entry(frames, DECODER_FILE, "a", 1, "");
	add_frame(frames, FRAME_DATA, 5);
	builder_add(frames, "abcde", 5);
	add_frame(frames, FRAME_END, 0);
	add_entry(frames, DECODER_SYMLINK, "l", 1, "t");
	add_frame(frames, FRAME_END, 0);
	add_frame(frames, FRAME_DONE, 0);
}

Test(decoder, frames_that_are_cut_are_not_believed)
{
	struct builder frames = {0};
	size_t whole;
	int between = 0;

	add_some(&frames);
	whole = frames.length;
	for (frames.length = 1; frames.length < whole; frames.length++) {
		struct decoding decoding = {.limits = DECODING_LIMITS};
		int result = feed(&decoding, &frames);

		if (result != 0)
			cr_assert_eq(result, -EBADMSG);
		between += result == 0;
	}
	cr_assert_eq(between, 5, "only between two of the six frames there is nothing wrong yet");
	builder_free(&frames);
}

static char room[2];

static int give_room(void *context, void **ret_room, size_t *ret_length, struct reason *reason)
{
	(void)context;
	(void)reason;
	*ret_room = room;
	*ret_length = sizeof(room);
	return 0;
}

static int expect_in_room(void *context, const void *bytes, size_t length, struct reason *reason)
{
	cr_assert_eq(bytes, room);
	cr_assert_leq(length, sizeof(room));
	decoding_note(context, "<", 1);
	decoding_note(context, bytes, length);
	(void)reason;
	return 0;
}

Test(decoder, data_goes_where_the_sink_wants_it)
{
	static const struct decoder_sink sink = {.entry = decoding_entry,
						 .data = expect_in_room,
						 .end = decoding_end,
						 .room = give_room};
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder frames = {0};

	add_some(&frames);
	cr_assert_eq(feed_to(&decoding, &frames, &sink), 0);
	cr_assert_str_eq(decoding.text, "file a<ab<cd<e\nlink l -> t\n");
	builder_free(&frames);
}

static int no_room(void *context, void **ret_room, size_t *ret_length, struct reason *reason)
{
	(void)context;
	(void)ret_room;
	(void)ret_length;
	return reason_set(reason, ENOSPC, "store_full", "no room");
}

Test(decoder, a_sink_without_room_left_stops_it)
{
	static const struct decoder_sink sink = {
	    .entry = decoding_entry, .data = expect_in_room, .end = decoding_end, .room = no_room};
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder frames = {0};

	add_some(&frames);
	cr_assert_eq(feed_to(&decoding, &frames, &sink), -ENOSPC);
	cr_assert_str_eq(decoding.text, "file a");
	builder_free(&frames);
}

Test(decoder, frames_out_of_order_are_not_believed)
{
	struct builder frames = {0};

	add_frame(&frames, FRAME_DATA, 1);
	builder_add(&frames, "x", 1);
	expect_nonsense(&frames);
	add_frame(&frames, FRAME_END, 0);
	expect_nonsense(&frames);
	add_entry(&frames, DECODER_DIR, "d", 1, "");
	add_entry(&frames, DECODER_DIR, "e", 1, "");
	expect_nonsense(&frames);
	add_entry(&frames, DECODER_DIR, "d", 1, "");
	add_frame(&frames, FRAME_DATA, 1);
	builder_add(&frames, "x", 1);
	expect_nonsense(&frames);
	add_entry(&frames, DECODER_FILE, "f", 1, "");
	add_frame(&frames, FRAME_DONE, 0);
	expect_nonsense(&frames);
	add_frame(&frames, FRAME_DONE, 0);
	add_frame(&frames, FRAME_DONE, 0);
	expect_nonsense(&frames);
	add_frame(&frames, 77, 0);
	expect_nonsense(&frames);
	add_frame(&frames, FRAME_DATA, UINT32_MAX);
	expect_nonsense(&frames);
}

Test(decoder, frames_with_bad_names_are_not_believed)
{
	static char name[5000];
	struct builder frames = {0};

	add_entry(&frames, DECODER_FILE, "", 0, "");
	expect_nonsense(&frames);
	add_entry(&frames, DECODER_FILE, "a\0b", 3, "");
	expect_nonsense(&frames);
	add_entry(&frames, DECODER_FILE, "a", 1, "target");
	expect_nonsense(&frames);
	add_entry(&frames, DECODER_SYMLINK, "a", 1, "");
	expect_nonsense(&frames);
	add_entry(&frames, 9, "a", 1, "");
	expect_nonsense(&frames);
	memset(name, 'n', sizeof(name));
	add_entry(&frames, DECODER_FILE, name, 256, "");
	expect_nonsense(&frames);
	for (size_t i = 0; i < sizeof(name); i += 2)
		name[i] = '/';
	add_entry(&frames, DECODER_FILE, name, 4096, "");
	expect_nonsense(&frames);
}

Test(decoder, frames_are_counted)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder frames = {0};

	for (int i = 0; i < 3; i++) {
		add_entry(&frames, DECODER_DIR, "d", 1, "");
		add_frame(&frames, FRAME_END, 0);
	}
	decoding.limits.entries = 2;
	cr_assert_eq(feed(&decoding, &frames), -EFBIG);
	cr_assert_str_eq(decoding.reason.code, "too_many_entries");
	builder_free(&frames);
	add_entry(&frames, DECODER_FILE, "f", 1, "");
	add_frame(&frames, FRAME_DATA, 100);
	builder_add_zeros(&frames, 100);
	decoding.limits.inflated_bytes = 99;
	cr_assert_eq(feed(&decoding, &frames), -EFBIG);
	cr_assert_str_eq(decoding.reason.code, "inflated_too_large");
	builder_free(&frames);
}

static void add_fail(struct builder *frames, uint32_t code, const char *message, const char *entry)
{
	struct frame_fail head = {.code = code,
				  .message_length = (uint32_t)strlen(message),
				  .entry_length = (uint32_t)strlen(entry)};

	add_frame(frames, FRAME_FAIL, (uint32_t)(sizeof(head) + strlen(message) + strlen(entry)));
	builder_add(frames, &head, sizeof(head));
	builder_add(frames, message, strlen(message));
	builder_add(frames, entry, strlen(entry));
}

Test(decoder, a_refusal_brings_only_known_codes_and_plain_text)
{
	struct decoding decoding = {.limits = DECODING_LIMITS};
	struct builder frames = {0};

	add_fail(&frames, 3, "cut", "a\\303\\251");
	cr_assert_eq(feed(&decoding, &frames), -EBADMSG);
	cr_assert_str_eq(decoding.reason.code, "archive_truncated");
	cr_assert_str_eq(decoding.reason.message, "cut");
	cr_assert_str_eq(decoding.reason.entry, "a\\303\\251");
	builder_free(&frames);
	add_fail(&frames, 1000, "text", "");
	expect_nonsense(&frames);
	add_fail(&frames, 0, "two\nlines", "");
	expect_nonsense(&frames);
	add_fail(&frames, 0, "text", "\x1b[2J");
	expect_nonsense(&frames);
	add_fail(&frames, 0, "", "");
	expect_nonsense(&frames);
}
