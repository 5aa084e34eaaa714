package dev.millrace.testapp;

import java.time.Duration;

import io.micrometer.prometheus.rsocket.PrometheusRSocketClient;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.rsocket.transport.netty.client.TcpClientTransport;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.context.SmartLifecycle;
import org.springframework.stereotype.Component;
import reactor.util.retry.Retry;

/** Connects to the metrics proxy before the task begins, and pushes the last metrics when it has ended. */
@Component
@ConditionalOnProperty("micrometer.prometheus.rsocket.enabled")
class ProxyClient implements SmartLifecycle {

	private final PrometheusMeterRegistry registry;

	private final String host;

	private final int port;

	// Not a bean itself: Spring would look at its methods, which name classes of an older Micrometer.
	private PrometheusRSocketClient client;

	ProxyClient(PrometheusMeterRegistry registry, @Value("${micrometer.prometheus.rsocket.host:localhost}") String host,
			@Value("${micrometer.prometheus.rsocket.port:7001}") int port) {
		this.registry = registry;
		this.host = host;
		this.port = port;
	}

	/** Waits for the proxy, 5 s at most; then the task begins without, and the client goes on trying. */
	@Override
	public void start() {
		this.client = PrometheusRSocketClient
			.build(this.registry, () -> this.registry.scrape(), TcpClientTransport.create(this.host, this.port))
			.retry(Retry.backoff(Long.MAX_VALUE, Duration.ofMillis(500)).maxBackoff(Duration.ofSeconds(5)))
			.connectBlockingly();
	}

	/** After everything that ends tasks, and before connection pools and their meters are gone. */
	@Override
	public void stop() {
		this.client.pushAndCloseBlockingly();
		this.client = null;
	}

	@Override
	public boolean isRunning() {
		return this.client != null;
	}

	/** First to start, last to stop. */
	@Override
	public int getPhase() {
		return Integer.MIN_VALUE;
	}

}
