/* Looks names up with whatever C library it is built with, and prints a line for each: built against musl, whose
   resolver asks for both address types at once and takes a name for unknown sooner than glibc's. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **names)
{
    for (int i = 1; i < count; i++) {
        struct addrinfo hints, *found = NULL;
        memset(&hints, 0, sizeof hints);
        hints.ai_socktype = SOCK_STREAM;
        int error = getaddrinfo(names[i], "443", &hints, &found);
        if (error) {
            printf("%s: %s\n", names[i], gai_strerror(error));
            continue;
        }
        for (struct addrinfo *one = found; one; one = one->ai_next) {
            char text[INET6_ADDRSTRLEN] = "?";
            if (one->ai_family == AF_INET)
                inet_ntop(AF_INET, &((struct sockaddr_in *)one->ai_addr)->sin_addr, text, sizeof text);
            printf("%s: %s\n", names[i], text);
        }
        freeaddrinfo(found);
    }
    return 0;
}
