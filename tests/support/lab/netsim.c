/* netsim: an IPv4 network with thousands of hosts, simulated by one process at the far end of a TAP device.
 *
 * A hash of the seed and the address decides which hosts are live, which drop ICMP and which probes are lost, so that
 * two scanners (or the same scanner with other options) scan the same network. The caller makes the near end of the
 * device in a network namespace without a route out, gives it an address and routes, and then starts this program, as
 * network.py does.
 *
 *   --tap NAME       the device to attach to; "ready" is printed once it answers
 *   --list NET/N     instead: print the live addresses of a network, one a line, and exit
 *   --seed N         another network (1)
 *   --alive P        per cent of the addresses that are live (5)
 *   --quiet P        per cent of the live hosts that drop ICMP; they still answer ARP and TCP (0)
 *   --serving P      per cent of the live hosts that answer a SYN to port 22, 80, 443 or 445 with SYN/ACK (0)
 *   --rtt MS         from probe to answer, milliseconds (0.3)
 *   --loss P         per cent of the probes that get no answer, independently of each other (0)
 *   --gateway A      a router on the segment, always live, whose own ARP answers are never lost
 *   --late P         per cent of the live hosts whose answers come --lateness MS later (0, 700)
 *   --dozing P       per cent of the live hosts that answer every third probe only (0)
 *
 * Answers for dead addresses, or for --share P per cent of them (100):
 *   --resets         a firewall answers TCP probes with RST
 *   --syn-proxy      a firewall completes TCP handshakes: it answers every SYN, to live hosts too, with SYN/ACK
 *   --echoes         a firewall answers ICMP echo requests
 *   --proxy-arp      a router answers ARP requests with its own hardware address, and drops all packets to it
 *   --forge          the firewall's answers have the TTL of the hosts
 *
 * SIGUSR1 prints the counters as one line of JSON and resets the counters and the losses; SIGTERM and SIGINT print
 * them and end the program. "peak" is the maximum number of packets that arrived within one second, "seconds" the time
 * from the first packet to the last one, "overrun" the number of answers without a free slot, "behind" the maximum delay
 * of an answer after its due time, in seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define LARGEST 192            /* octets of the largest frame that is answered; no probe of nmap or fping is larger */
#define WAITING (1 << 16)      /* pending answers; a power of two, like the following */
#define WINDOW (1 << 18)       /* arrivals remembered for the peak: more a second than the device can carry */
#define TRIES (1 << 20)        /* probes counted per address, told apart by its last 20 bits */
#define HOST_TTL 60            /* a host three routers away */
#define FIREWALL_TTL 63        /* a firewall right behind the gateway */

enum draw { ALIVE, QUIET, SERVING, LOST, LATE, DOZING, SHARE };

static struct {
    uint64_t seed, rtt, lateness;
    double alive, quiet, serving, loss, late, dozing, share;
    uint32_t gateway;
    bool resets, syn_proxy, echoes, proxy_arp, forge;
} net = {.seed = 1, .rtt = 300000, .alive = 5, .lateness = 700000000, .share = 100};

static struct { uint64_t arp, echo, timestamp, tcp, other, lost, answered, overrun, packets, peak, first, last, behind; } count;
static uint64_t arrivals[WINDOW], oldest;
static uint16_t tries[TRIES];
static struct answer { uint64_t due; size_t size; uint8_t frame[LARGEST]; } waiting[WAITING];
static uint64_t next_in, next_out;
static volatile sig_atomic_t signalled;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

/* ---- which hosts there are ---- */

static uint64_t scramble(uint64_t x) { /* the finaliser of splitmix64 */
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}
static bool drawn(double percent, enum draw what, uint32_t address, uint32_t nth) {
    uint64_t x = scramble(scramble(net.seed * 8 + what + 1) + ((uint64_t)nth << 32 | address));
    return (x >> 11) * 0x1p-53 * 100 < percent;
}
static bool lives(uint32_t address) {
    return address == net.gateway || drawn(net.alive, ALIVE, address, 0);
}
static bool gets_lost(uint32_t address) {
    if (net.loss <= 0 || !drawn(net.loss, LOST, address, tries[address % TRIES]++)) return false;
    count.lost++;
    return true;
}
static bool dozes(uint32_t address) {
    static uint16_t probes[TRIES];
    return net.dozing > 0 && drawn(net.dozing, DOZING, address, 0) && ++probes[address % TRIES] % 3;
}
static bool serves(uint32_t address, uint16_t port) {
    return (port == 22 || port == 80 || port == 443 || port == 445) && drawn(net.serving, SERVING, address, 0);
}
static bool answered_for(uint32_t address) { /* by the firewall or router, if the address is dead */
    return drawn(net.share, SHARE, address, 0);
}

/* ---- answers ---- */

static uint16_t checksum(const uint8_t *data, size_t size, uint32_t sum) {
    for (size_t i = 0; i < size; i++) sum += i % 2 ? data[i] : data[i] << 8;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return htons(~sum);
}
static struct answer *room(void) { /* the next free slot; NULL if all slots are in use */
    if (next_in - next_out < WAITING) return &waiting[next_in % WAITING];
    count.overrun++;
    return NULL;
}
static void send_later(struct answer *a, size_t size, uint32_t address) {
    a->due = now() + net.rtt + (net.late > 0 && drawn(net.late, LATE, address, 0) ? net.lateness : 0);
    a->size = size;
    count.answered++;
    for (uint64_t at = next_in++; at > next_out; at--) { /* sorted by due time; few answers are late */
        struct answer *earlier = &waiting[(at - 1) % WAITING], *later = &waiting[at % WAITING], other = *earlier;
        if (earlier->due <= later->due) break;
        *earlier = *later;
        *later = other;
    }
}
static void on_arp(const uint8_t *frame, size_t size) {
    const struct ether_arp *query = (const void *)(frame + ETH_HLEN);
    if (size < ETH_HLEN + sizeof *query) { count.other++; return; }
    count.arp++;
    uint32_t target;
    memcpy(&target, query->arp_tpa, 4);
    bool announcement = !memcmp(query->arp_spa, query->arp_tpa, 4);
    target = ntohl(target);
    bool live = lives(target), proxied = !live && net.proxy_arp && answered_for(target);
    if (query->ea_hdr.ar_op != htons(ARPOP_REQUEST) || announcement || (!live && !proxied)) return;
    if (target != net.gateway && gets_lost(target)) return;
    if (live && dozes(target)) return;
    struct answer *a = room();
    if (!a) return;
    uint8_t mac[ETH_ALEN] = {0x02, 0x4e, target >> 24, target >> 16, target >> 8, target};
    if (proxied) memcpy(mac + 2, "\0\0\0\1", 4);
    struct ether_arp *reply = (void *)(a->frame + ETH_HLEN);
    memcpy(a->frame, query->arp_sha, ETH_ALEN);
    memcpy(a->frame + ETH_ALEN, mac, ETH_ALEN);
    memcpy(a->frame + 2 * ETH_ALEN, frame + 2 * ETH_ALEN, 2);
    reply->ea_hdr = query->ea_hdr;
    reply->ea_hdr.ar_op = htons(ARPOP_REPLY);
    memcpy(reply->arp_sha, mac, ETH_ALEN);
    memcpy(reply->arp_spa, query->arp_tpa, 4);
    memcpy(reply->arp_tha, query->arp_sha, ETH_ALEN);
    memcpy(reply->arp_tpa, query->arp_spa, 4);
    send_later(a, ETH_HLEN + sizeof *reply, target);
}
static void answer_tcp(struct ip *ip, struct tcphdr *tcp, bool serving) {
    struct tcphdr probe = *tcp;
    memset(tcp, 0, sizeof *tcp);
    tcp->source = probe.dest;
    tcp->dest = probe.source;
    tcp->doff = 5;
    if (probe.ack) {
        tcp->rst = 1;
        tcp->seq = probe.ack_seq;
    } else {
        tcp->syn = serving;
        tcp->rst = !serving;
        tcp->ack = 1;
        tcp->window = serving ? htons(1024) : 0;
        tcp->ack_seq = htonl(ntohl(probe.seq) + 1);
    }
    uint32_t pseudo = IPPROTO_TCP + sizeof *tcp;
    uint32_t ends[2] = {ntohl(ip->ip_src.s_addr), ntohl(ip->ip_dst.s_addr)};
    for (int i = 0; i < 2; i++) pseudo += (ends[i] >> 16) + (ends[i] & 0xffff);
    tcp->th_sum = checksum((uint8_t *)tcp, sizeof *tcp, pseudo);
}
static void on_ip(const uint8_t *frame, size_t size) {
    const struct ip *probe = (const void *)(frame + ETH_HLEN);
    size_t header = probe->ip_hl * 4, total = ntohs(probe->ip_len);
    bool whole = size >= ETH_HLEN + sizeof *probe && header >= sizeof *probe && ETH_HLEN + total <= size &&
                 total <= LARGEST - ETH_HLEN && total >= header + 8;
    const uint8_t *inner = (const uint8_t *)probe + header;
    bool tcp = whole && probe->ip_p == IPPROTO_TCP && total >= header + sizeof(struct tcphdr);
    bool echo = whole && probe->ip_p == IPPROTO_ICMP && inner[0] == ICMP_ECHO;
    bool stamp = whole && probe->ip_p == IPPROTO_ICMP && inner[0] == ICMP_TIMESTAMP;
    count.tcp += tcp;
    count.echo += echo;
    count.timestamp += stamp;
    count.other += !tcp && !echo && !stamp;
    if (!tcp && !echo && !stamp) return;
    if (tcp && ((const struct tcphdr *)inner)->rst) return; /* the kernel declines an open port's SYN/ACK */

    uint32_t target = ntohl(probe->ip_dst.s_addr);
    bool syn = tcp && !((const struct tcphdr *)inner)->ack;
    bool live = lives(target), proxied = syn && net.syn_proxy && (live || answered_for(target));
    if (!live && !proxied && !((tcp ? net.resets : echo && net.echoes) && answered_for(target))) return;
    if (live && !proxied && !tcp && drawn(net.quiet, QUIET, target, 0)) return;
    if (gets_lost(target)) return;
    if (live && dozes(target)) return;
    struct answer *a = room();
    if (!a) return;
    memcpy(a->frame, frame, ETH_HLEN + total);
    memcpy(a->frame, frame + ETH_ALEN, ETH_ALEN);
    memcpy(a->frame + ETH_ALEN, frame, ETH_ALEN);
    struct ip *ip = (void *)(a->frame + ETH_HLEN);
    uint8_t *body = (uint8_t *)ip + header;
    ip->ip_src = probe->ip_dst;
    ip->ip_dst = probe->ip_src;
    ip->ip_ttl = net.forge || (live && !proxied) ? HOST_TTL : FIREWALL_TTL;
    ip->ip_off = 0;
    if (tcp) {
        total = header + sizeof(struct tcphdr);
        ip->ip_len = htons(total);
        answer_tcp(ip, (void *)body, proxied || (live && serves(target, ntohs(((const struct tcphdr *)inner)->dest))));
    } else {
        body[0] = echo ? ICMP_ECHOREPLY : ICMP_TIMESTAMPREPLY;
        body[2] = body[3] = 0;
        uint16_t sum = checksum(body, total - header, 0);
        memcpy(body + 2, &sum, 2);
    }
    ip->ip_sum = 0;
    ip->ip_sum = checksum((uint8_t *)ip, header, 0);
    send_later(a, ETH_HLEN + total, target);
}

/* ---- counting ---- */

static void note_arrival(uint64_t time) {
    if (!count.packets) count.first = time;
    arrivals[count.packets++ % WINDOW] = count.last = time;
    while (arrivals[oldest % WINDOW] + SECOND <= time || count.packets - oldest > WINDOW) oldest++;
    if (count.packets - oldest > count.peak) count.peak = count.packets - oldest;
}
static void report(void) {
    printf("{\"arp\": %" PRIu64 ", \"echo\": %" PRIu64 ", \"timestamp\": %" PRIu64 ", \"tcp\": %" PRIu64
           ", \"other\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"answered\": %" PRIu64 ", \"overrun\": %" PRIu64
           ", \"packets\": %" PRIu64 ", \"peak\": %" PRIu64 ", \"seconds\": %.3f, \"behind\": %.3f}\n",
           count.arp, count.echo, count.timestamp, count.tcp, count.other, count.lost, count.answered, count.overrun,
           count.packets, count.peak, (count.last - count.first) / (double)SECOND, count.behind / (double)SECOND);
    fflush(stdout);
    memset(&count, 0, sizeof count);
    memset(tries, 0, sizeof tries);
    oldest = 0;
}

/* ---- the wire ---- */

static int attach(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) err(1, "/dev/net/tun");
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(fd, TUNSETIFF, &request) < 0) err(1, "cannot attach to %s", name);
    return fd;
}
static bool receive(int tap) { /* return whether more frames may wait */
    uint8_t frame[2048];
    for (int i = 0; i < 128; i++) { /* then send the answers that are due */
        ssize_t size = read(tap, frame, sizeof frame);
        if (size < ETH_HLEN) return false;
        note_arrival(now());
        uint16_t type = frame[12] << 8 | frame[13];
        if (type == ETHERTYPE_ARP) on_arp(frame, size);
        else if (type == ETHERTYPE_IP) on_ip(frame, size);
        else count.other++;
    }
    return true;
}
static void deliver(int tap) {
    for (uint64_t time = now(); next_out < next_in; next_out++) {
        const struct answer *a = &waiting[next_out % WAITING];
        if (a->due > time || write(tap, a->frame, a->size) < 0) return;
        if (time - a->due > count.behind) count.behind = time - a->due;
    }
}
static void on_signal(int number) { signalled = number; }

static void serve(int tap) {
    sigset_t blocked, open;
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&blocked);
    int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
    for (int i = 0; i < 3; i++) {
        sigaddset(&blocked, numbers[i]);
        sigaction(numbers[i], &action, NULL);
    }
    sigprocmask(SIG_BLOCK, &blocked, &open); /* delivered inside ppoll only */
    /* A real network is not slower on a busy machine: frames must not wait for other processes. Containers may refuse. */
    sched_setscheduler(0, SCHED_RR, &(struct sched_param){.sched_priority = 1});
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct pollfd ready = {.fd = tap, .events = POLLIN};
        struct timespec wait = {.tv_sec = 3600};
        if (next_out < next_in) {
            uint64_t due = waiting[next_out % WAITING].due, time = now();
            wait = (struct timespec){.tv_sec = due > time ? (due - time) / SECOND : 0,
                                     .tv_nsec = due > time ? (due - time) % SECOND : 0};
        }
        ppoll(&ready, 1, &wait, &open);
        receive(tap);
        deliver(tap);
        if (signalled) {
            while (receive(tap)); /* frames that arrived before the signal */
            report();
            if (signalled != SIGUSR1) return;
            signalled = 0;
        }
    }
}
static uint32_t address_of(const char *text) {
    struct in_addr a;
    if (!inet_aton(text, &a)) errx(2, "not an IPv4 address: %s", text);
    return ntohl(a.s_addr);
}
static void list(char *network) {
    char *slash = strchr(network, '/');
    int prefix = slash ? atoi(slash + 1) : 32;
    if (slash) *slash = 0;
    uint32_t first = address_of(network);
    for (uint64_t i = 0; i < UINT64_C(1) << (32 - prefix); i++) {
        struct in_addr a = {htonl(first + i)};
        if (lives(first + i)) puts(inet_ntoa(a));
    }
}
int main(int argc, char **argv) {
    static const struct option options[] = {
        {"tap", 1, 0, 'T'}, {"list", 1, 0, 'L'}, {"seed", 1, 0, 's'}, {"alive", 1, 0, 'a'},
        {"quiet", 1, 0, 'q'}, {"serving", 1, 0, 'S'}, {"rtt", 1, 0, 'r'}, {"loss", 1, 0, 'l'},
        {"gateway", 1, 0, 'g'}, {"resets", 0, 0, 'R'}, {"syn-proxy", 0, 0, 'P'}, {"echoes", 0, 0, 'E'},
        {"proxy-arp", 0, 0, 'A'}, {"forge", 0, 0, 'F'}, {"share", 1, 0, 'h'}, {"late", 1, 0, 'd'},
        {"lateness", 1, 0, 'D'}, {"dozing", 1, 0, 'z'}, {0}};
    const char *tap = NULL;
    char *network = NULL;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (o) {
        case 'T': tap = optarg; break;
        case 'L': network = optarg; break;
        case 's': net.seed = strtoull(optarg, NULL, 10); break;
        case 'a': net.alive = atof(optarg); break;
        case 'q': net.quiet = atof(optarg); break;
        case 'S': net.serving = atof(optarg); break;
        case 'r': net.rtt = atof(optarg) * 1e6; break;
        case 'l': net.loss = atof(optarg); break;
        case 'g': net.gateway = address_of(optarg); break;
        case 'R': net.resets = true; break;
        case 'P': net.syn_proxy = true; break;
        case 'E': net.echoes = true; break;
        case 'A': net.proxy_arp = true; break;
        case 'F': net.forge = true; break;
        case 'h': net.share = atof(optarg); break;
        case 'd': net.late = atof(optarg); break;
        case 'D': net.lateness = atof(optarg) * 1e6; break;
        case 'z': net.dozing = atof(optarg); break;
        default: return 2;
        }
    if (network) list(network);
    else if (tap) {
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* end with the test that started it */
        setpriority(PRIO_PROCESS, 0, -20); /* hosts answer at once also on a busy machine */
        serve(attach(tap));
    } else errx(2, "--tap or --list is needed");
    return 0;
}
