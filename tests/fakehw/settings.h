/* Settings of the fake driver libraries: lines of `name = value` in the file that GPUDOCTOR_FAKE_DRIVER names.
 *
 * Read when the library starts, so that one build of it plays every machine.
 */
#ifndef FAKE_SETTINGS_H
#define FAKE_SETTINGS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct setting {
    char name[64];
    char value[192];
};

static struct setting settings[256];
static int setting_count = -1;

static void read_settings(void) {
    const char *path = getenv("GPUDOCTOR_FAKE_DRIVER");
    FILE *file = path ? fopen(path, "r") : NULL;
    setting_count = 0;
    if (!file) {
        return;
    }
    while (setting_count < 256
           && fscanf(file, " %63[^= \n] = %191[^\n]", settings[setting_count].name, settings[setting_count].value) == 2) {
        setting_count++;
    }
    fclose(file);
}

static const char *text_setting(const char *name) {
    if (setting_count < 0) {
        read_settings();
    }
    for (int i = 0; i < setting_count; i++) {
        if (strcmp(settings[i].name, name) == 0) {
            return settings[i].value;
        }
    }
    return NULL;
}

static long long number_setting(const char *name, long long otherwise) {
    const char *text = text_setting(name);
    return text ? strtoll(text, NULL, 0) : otherwise;
}

/* What a call is told to do instead of answering: `hang`, `crash`, `flood`, or a code to return. 0: answer. */
static int misbehave(const char *function) {
    const char *text = text_setting(function);
    if (!text) {
        return 0;
    }
    if (strcmp(text, "hang") == 0) {
        for (;;) {
            sleep(3600);
        }
    }
    if (strcmp(text, "crash") == 0) {
        *(volatile int *)0 = 1;
    }
    if (strcmp(text, "abort") == 0) {
        abort();
    }
    if (strcmp(text, "flood") == 0) {
        static const char noise[4096] = "noise of a driver library ";
        for (;;) {
            if (write(1, noise, sizeof noise) < 0) {
                _exit(3);
            }
        }
    }
    return atoi(text);
}

#endif
