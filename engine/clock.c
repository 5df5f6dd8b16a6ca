/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks, and the one way in which times are written. */
#include "engine/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t clock_monotonic_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

char *clock_format(int64_t wall_ns, char text[CLOCK_TEXT])
{
	time_t seconds = (time_t)(wall_ns / 1000000000);
	struct tm parts;
	size_t used;

	gmtime_r(&seconds, &parts);
	used = strftime(text, CLOCK_TEXT, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(text + used, CLOCK_TEXT - used, ".%03dZ",
		 (int)(wall_ns / 1000000 % 1000 + 1000) % 1000);
	return text;
}

int64_t clock_parse(const char *text)
{
	struct tm parts = {0};
	int milliseconds = 0;
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);

	if (!rest || sscanf(rest, ".%3dZ", &milliseconds) != 1)
		return 0;
	return (int64_t)timegm(&parts) * 1000000000 + (int64_t)milliseconds * 1000000;
}
