package dev.millrace.rsocketpeer;

import io.rsocket.Payload;
import io.rsocket.RSocket;
import io.rsocket.core.RSocketConnector;
import io.rsocket.core.Resume;
import io.rsocket.transport.ClientTransport;
import io.rsocket.transport.netty.client.TcpClientTransport;
import io.rsocket.transport.netty.client.WebsocketClientTransport;
import io.rsocket.util.DefaultPayload;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import javax.crypto.Cipher;
import javax.crypto.KeyGenerator;
import javax.crypto.SecretKey;
import org.reactivestreams.Publisher;
import org.xerial.snappy.Snappy;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.util.function.Tuple2;

/**
 * An application on rsocket-java with all of its defaults, in a few lines of its own: what it does is told line by line
 * on standard output.
 *
 * <pre>rsocket-java.jar tcp|websocket PORT RUN [MTU]</pre>
 *
 * RUN names its series and its execution; with MTU, requests go in fragments of so many bytes.
 */
public class RSocketPeer implements RSocket {

	private static final Duration PATIENCE = Duration.ofSeconds(30);

	private final String run;
	private final CompletableFuture<byte[]> key = new CompletableFuture<>();
	private final CompletableFuture<Void> pulled = new CompletableFuture<>();

	private RSocketPeer(String run) {
		this.run = run;
	}

	public static void main(String[] args) throws Exception {
		ClientTransport transport = transport(args[0], Integer.parseInt(args[1]));
		RSocketConnector connector = RSocketConnector.create();
		if (args.length > 3) {
			connector.fragment(Integer.parseInt(args[3]));
		}
		new RSocketPeer(args[2]).converse(connector, transport);
		Mono<String> lease = refused(RSocketConnector.create().lease(), transport);
		Mono<String> resume = refused(RSocketConnector.create().resume(new Resume()), transport);
		// Both at once: a refused connection is held for a while before it is closed.
		Tuple2<String, String> both = Mono.zip(lease, resume).block(PATIENCE);
		tell("lease", both.getT1());
		tell("resume", both.getT2());
		System.exit(0);
	}

	private static ClientTransport transport(String kind, int port) {
		if (kind.equals("websocket")) {
			return WebsocketClientTransport.create(URI.create("ws://127.0.0.1:" + port + "/any/path"));
		}
		return TcpClientTransport.create("127.0.0.1", port);
	}

	private void converse(RSocketConnector connector, ClientTransport transport) throws Exception {
		RSocket proxy = connector.acceptor((setup, sender) -> Mono.just(this)).connect(transport).block(PATIENCE);
		byte[] key = this.key.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
		tell("key", key.length);
		this.pulled.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
		tell("pulled");
		proxy.requestResponse(seal(key, text("response", 200))).block(PATIENCE);
		tell("acknowledged");
		proxy.fireAndForget(seal(key, text("fnf", 200))).block(PATIENCE);
		tell("fired");
		tell("stream", failure(proxy.requestStream(DefaultPayload.create("x"))).block(PATIENCE));
		tell("channel", failure(proxy.requestChannel(Flux.just(DefaultPayload.create("x")))).block(PATIENCE));
		proxy.metadataPush(DefaultPayload.create("", "x")).block(PATIENCE);
		tell("unreadable", failure(proxy.requestResponse(DefaultPayload.create("x", "y"))).block(PATIENCE));
		// The connection lives on after all that.
		proxy.requestResponse(seal(key, text("last", 1))).block(PATIENCE);
		tell("acknowledged again");
		proxy.dispose();
		proxy.onClose().onErrorComplete().block(PATIENCE);
		tell("closed");
	}

	/** What the proxy says to a client that wants more than it gives. */
	private static Mono<String> refused(RSocketConnector connector, ClientTransport transport) {
		return failure(connector.connect(transport).flatMap(RSocket::onClose));
	}

	private static Mono<String> failure(Publisher<?> answer) {
		return Flux.from(answer).then(Mono.just("taken"))
				.onErrorResume(e -> Mono.just(e.getClass().getSimpleName() + " " + e.getMessage()));
	}

	@Override
	public Mono<Void> fireAndForget(Payload payload) {
		this.key.complete(bytes(payload));
		return Mono.empty();
	}

	@Override
	public Mono<Payload> requestResponse(Payload payload) {
		this.pulled.complete(null);
		byte[] key = bytes(payload);
		return Mono.fromCallable(() -> seal(key, text("live", 1)));
	}

	private String text(String kind, int lines) {
		String labels = "task_execution_id=\"" + this.run + "-" + kind + "\",task_external_execution_id=\"p\"";
		StringBuilder text = new StringBuilder("# TYPE peer_total counter\npeer_total{" + labels + "} 7\n");
		for (int i = 0; i < lines - 1; i++) {
			text.append("filler{i=\"" + i + "\"," + labels + "} " + i + "\n");
		}
		return text.toString();
	}

	/** As Micrometer's client does it, names of the ciphers included. */
	private static Payload seal(byte[] publicKey, String text) throws Exception {
		KeyGenerator generator = KeyGenerator.getInstance("AES");
		generator.init(128);
		SecretKey aes = generator.generateKey();
		Cipher cipher = Cipher.getInstance("AES");
		cipher.init(Cipher.ENCRYPT_MODE, aes);
		byte[] data = cipher.doFinal(Snappy.compress(text.getBytes(StandardCharsets.UTF_8)));
		return DefaultPayload.create(data, wrap(publicKey, aes));
	}

	private static byte[] wrap(byte[] publicKey, SecretKey aes) throws GeneralSecurityException {
		Cipher rsa = Cipher.getInstance("RSA/ECB/OAEPWithSHA-256AndMGF1Padding");
		rsa.init(Cipher.ENCRYPT_MODE, KeyFactory.getInstance("RSA").generatePublic(new X509EncodedKeySpec(publicKey)));
		return rsa.doFinal(aes.getEncoded());
	}

	private static byte[] bytes(Payload payload) {
		ByteBuffer data = payload.getData();
		byte[] bytes = new byte[data.remaining()];
		data.get(bytes);
		payload.release();
		return bytes;
	}

	private static void tell(Object... words) {
		StringBuilder line = new StringBuilder();
		for (Object word : words) {
			line.append(line.isEmpty() ? "" : " ").append(word);
		}
		System.out.println(line);
	}

}
