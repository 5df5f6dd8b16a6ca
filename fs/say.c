/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands tell a person. Everything goes to stderr, so that stdout is for results only;
 * a line of progress never mixes with a message, because say() wipes it first.
 */
#include "fs/say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/clock.h"
#include "fs/commands.h"

#define PROGRESS_FIRST_NS (1000ll * 1000 * 1000)
#define PROGRESS_NEXT_NS (100ll * 1000 * 1000)

static int64_t progress_due_ns; /* 0: no work is under way */
static bool progress_shown;

void say(const char *format, ...)
{
	va_list args;

	say_progress_end();
	fputs("aionfs: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void say_reason(const char *subject, const struct reason *reason, int error)
{
	const char *before = subject ? subject : "", *colon = subject ? ": " : "";

	if (!reason->message[0])
		say("%s%s%s", before, colon, strerror(error < 0 ? -error : EIO));
	else if (reason->entry[0])
		say("%s%s%s: %s (%s)", before, colon, reason->entry, reason->message, reason->code);
	else
		say("%s%s%s (%s)", before, colon, reason->message, reason->code);
}

void say_progress(const char *what, uint64_t done, uint64_t total, const char *unit)
{
	int64_t now = clock_monotonic_ns();

	if (!isatty(STDERR_FILENO))
		return;
	if (!progress_due_ns)
		progress_due_ns = now + PROGRESS_FIRST_NS;
	if (now < progress_due_ns)
		return;
	progress_due_ns = now + PROGRESS_NEXT_NS;
	progress_shown = true;
	if (total > 0)
		fprintf(stderr, "\r\033[K%s: %llu of %llu %s", what, (unsigned long long)done,
			(unsigned long long)total, unit);
	else
		fprintf(stderr, "\r\033[K%s: %llu %s", what, (unsigned long long)done, unit);
	fflush(stderr);
}

void say_progress_end(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
	progress_due_ns = 0;
}

char *say_bytes(uint64_t bytes, char text[SAY_BYTES])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(*units)) {
		value /= 1024;
		unit++;
	}
	snprintf(text, SAY_BYTES, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

int say_finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	say("the output could not be written: %s", strerror(errno));
	return code == EXIT_DONE ? EXIT_FAILED : code;
}
