"""Servers of an agent, on its loopback, for forwards to lead to."""
import base64, hashlib, os, socket, struct, threading, time

held, taken = {}, 0


def say(*words):
    print(*words, flush=True)


def serve(port, handle, host='127.0.0.1'):
    server = socket.create_server((host, port), backlog=512)

    def guarded(connection):
        try:
            with connection:
                handle(connection)
        except OSError:
            pass

    def loop():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=guarded, args=(connection,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()
    return server


def head(connection):
    text = b''
    while b'\r\n\r\n' not in text:
        more = connection.recv(4096)
        if not more:
            raise OSError
        text += more
    return text.decode()


def page(connection):
    path = head(connection).split(' ')[1]
    if 'code=' in path:
        say('called back:', path)
    body = b'hello of the agent'
    connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))


def echo(connection):
    count = 0
    while data := connection.recv(65536):
        count += len(data)
        connection.sendall(data)
    connection.sendall(b'bye %d' % count)


def endless(connection):
    global taken
    while True:
        taken += connection.send(bytes(65536))


def reset(connection):
    connection.recv(1)
    connection.sendall(b'x')
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


def deaf(connection):
    threading.Event().wait()


def hot(connection):
    """Says `reload` by WebSocket whenever the page in the project changes, and answers what it is told."""
    fields = dict(line.split(': ', 1) for line in head(connection).split('\r\n')[1:] if ': ' in line)
    key = fields['Sec-WebSocket-Key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    connection.sendall(f'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                       f'Sec-WebSocket-Accept: {accept}\r\n\r\n'.encode())

    def tell(text):
        connection.sendall(bytes([0x81, len(text)]) + text.encode())

    def watch(before):
        while True:
            time.sleep(.02)
            now = os.stat('/workspace/page').st_mtime_ns
            if now != before:
                tell('reload ' + open('/workspace/page').read().strip())
            before = now

    # Before `ready`: the page may change at once after it.
    threading.Thread(target=watch, args=[os.stat('/workspace/page').st_mtime_ns], daemon=True).start()
    tell('ready')
    while True:
        first = connection.recv(2, socket.MSG_WAITALL)
        if len(first) < 2 or first[0] & 15 == 8:
            return
        mask = connection.recv(4, socket.MSG_WAITALL)
        data = connection.recv(first[1] & 127, socket.MSG_WAITALL)
        tell('heard ' + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)).decode())


def orders(connection):
    for line in connection.makefile():
        word, *rest = line.split()
        if word == 'open':
            held[rest[0]] = serve(int(rest[0]), page)
        elif word == 'close':
            server = held.pop(rest[0])
            server.shutdown(socket.SHUT_RDWR)
            server.close()
        answer = str(taken) if word == 'taken' else 'done'
        connection.sendall(answer.encode() + b'\n')


for port, handle in [(8000, page), (8001, echo), (8002, endless), (8003, reset), (8004, deaf), (8005, orders), (8006, hot),
                     (1455, page)]:
    serve(port, handle)
if os.environ.get('OTHERS'):
    # Not at loopback, where no forward leads.
    serve(8010, page, socket.gethostbyname(socket.gethostname()))
say('servers are up')
threading.Event().wait()
